"""The gallery's page, filled in."""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from mmsamdistill.comparison.choices import describe_gains
from mmsamdistill.comparison.scores import MINUS, Scores, format_gain, format_score, summary_rows


def page_text(
    columns: Sequence[str],
    images: Sequence[Mapping[str, Any]],
    scores: Scores | None,
    title: str | None = None,
) -> str:
    """Fill in the page of a gallery: HTML.

    Style, script and numbers are part of it, so that it works from a disk, where browsers let no
    page read another file; without JavaScript its list still leads to the images. Of each image
    it takes ``name``, ``size`` (width, height), ``gain`` in dB or None, ``files`` with a URL for
    each column, ``thumbnail``, and lists ``PSNR`` and ``SSIM`` with None for the truth.
    """
    folder = resources.files('mmsamdistill.comparison') / 'page'
    parts = {name: (folder / name).read_text('utf-8') for name in ('page.css', 'page.js')}
    pair = scores.pair if scores else None
    number = f'{len(images)} image' + ('s' if len(images) != 1 else '')
    data = {'columns': list(columns), 'pair': pair, 'images': images}
    return Template((folder / 'page.html').read_text('utf-8')).substitute(
        title=escape(title or ' · '.join(columns)),
        style=parts['page.css'],
        script=parts['page.js'],
        gains=escape(describe_gains(scores)) if pair else '',
        protocol=escape(
            f'PSNR and SSIM by protocol {scores.protocol}, of the 8-bit files shown here.'
            if scores
            else ''
        ),
        numbers='<a href="scores.csv">All numbers as CSV</a>' if scores else '',
        caption=f'Mean of {number}' if scores else number,
        means=_means(columns, scores) if scores else '',
        orders=_orders(columns, pair) if scores else '',
        items='\n'.join(
            _item(index, image, pair, -2 if scores else -1) for index, image in enumerate(images)
        ),
        data=_json(data),
    )


def _json(data: Any) -> str:
    text = json.dumps(_jsonable(data), ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    # Inside of a script element only these could end it, or begin a comment.
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        # Names that JavaScript's Number() understands.
        return {math.inf: 'Infinity', -math.inf: '-Infinity'}.get(value, 'NaN')
    return value


def _means(columns: Sequence[str], scores: Scores) -> str:
    # A row a column; the best value of each metric stands out.
    rows = summary_rows(columns, scores)
    best = {metric: max(row[metric] for row in rows) for metric in ('PSNR', 'SSIM')}
    titles = ['Column', 'PSNR (dB)', 'SSIM']
    if scores.pair:
        titles.append(f'Gain over {scores.pair[0]} (dB)')
    head = ''.join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    lines = [f'<thead><tr>{head}</tr></thead>', '<tbody>']
    for row in rows:
        cells = [f'<th scope="row">{escape(row["column"])}</th>']
        for metric, value in best.items():
            kind = ' class="best"' if row[metric] == value else ''
            cells.append(f'<td{kind}>{format_score(metric, row[metric])}</td>')
        if scores.pair:
            gain = '' if row['column'] == scores.pair[0] else format_gain(row['gain'])
            cells.append(f'<td>{gain}</td>')
        lines.append(f'<tr>{"".join(cells)}</tr>')
    return '\n    '.join([*lines, '</tbody>'])


def _orders(columns: Sequence[str], pair: tuple[str, str] | None) -> str:
    options = []
    if pair:
        options += [('gain:-1', 'largest gain first'), ('gain:1', 'least gain first')]
    measured = enumerate(columns[:-1])
    options += [(f'{index}:1', f'least PSNR first: {name}') for index, name in measured]
    return '\n        '.join(
        f'<option value="{value}">{escape(text)}</option>' for value, text in options
    )


def _item(index: int, image: Mapping[str, Any], pair: tuple[str, str] | None, main: int) -> str:
    kind, text = 'gain', ''
    if pair:
        text = f'{format_gain(image["gain"])} dB'
        kind += {'+': ' up', MINUS: ' down'}.get(text[0], '')
    return (
        f'<li><a class="item" data-index="{index}" href="{escape(image["files"][main])}">'
        f'<img loading="lazy" decoding="async" src="{escape(image["thumbnail"])}" alt="" width="84"'
        f' height="60"><span class="words"><span class="name">{escape(image["name"])}</span>'
        f'<span class="{kind}">{text}</span></span></a></li>'
    )
