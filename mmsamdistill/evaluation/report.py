"""Test results as a table that can be read, parsed and pasted."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmsamdistill.files import write_atomically

Row = dict[str, str | int | float]


def metric_rows(
    metrics: Mapping[str, float],
    datasets: Mapping[str, int],
    fallback: str = 'test',
    protocols: Mapping[str, str] | None = None,
) -> list[Row]:
    """Turn the flat metrics of a test run, ``'Kodak24/PSNR': 31.2``, into a row for each data set.

    Those without a prefix are of the data set ``fallback``; numbers of images and protocols are
    looked up by prefix.
    """
    rows: dict[str, Row] = {}
    for key, value in metrics.items():
        # The prefix may have slashes itself.
        prefix, _, name = key.rpartition('/')
        dataset = prefix or fallback
        if dataset not in rows:
            rows[dataset] = {'dataset': dataset}
            if dataset in datasets:
                rows[dataset]['images'] = datasets[dataset]
            if protocols and dataset in protocols:
                rows[dataset]['protocol'] = protocols[dataset]
        rows[dataset][name] = float(value)
    return list(rows.values())


def to_markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows as a Markdown table, which also reads well in a terminal.

    >>> print(to_markdown([{'model': 'plain', 'PSNR': 26.314}, {'model': 'distilled'}]))
    | model     |  PSNR |
    |-----------|-------|
    | plain     | 26.31 |
    | distilled |       |
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(column, row.get(column)) for column in columns] for row in rows]
    numeric = [
        all(isinstance(row.get(column, 0), (int, float)) for row in rows) for column in columns
    ]
    widths = [max(len(text) for text in texts) for texts in zip(columns, *cells, strict=True)]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, numeric, strict=True)
        ]
        return '| ' + ' | '.join(padded) + ' |'

    rule = '|' + '|'.join('-' * (width + 2) for width in widths) + '|'
    return '\n'.join([line(columns), rule, *map(line, cells)])


def write_report(
    stem: str | Path,
    rows: Sequence[Mapping[str, object]],
    meta: Mapping,
    per_image: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write ``stem``.json, .csv and .md, whose paths are returned.

    The json file also holds ``meta``, what the numbers depend on, and the rows of each data set's
    single images; the .md file ``notes``, sentences below the table.
    """
    stem = Path(stem)
    if stem.suffix in ('.json', '.csv', '.md'):
        stem = stem.with_suffix('')
    columns = list(dict.fromkeys(key for row in rows for key in row))
    # 1. The table for spreadsheets, in which no cell is a formula.
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows({key: _spreadsheet_cell(value) for key, value in row.items()} for row in rows)
    # 2. The numbers with what they depend on.
    content = json.dumps({**meta, 'results': [_jsonable(row) for row in rows]}, indent=2)
    texts = {
        '.json': _with_per_image(content, per_image or {}) + '\n',
        '.csv': table.getvalue(),
        '.md': '\n\n'.join([to_markdown(rows), *notes]) + '\n',
    }
    paths = []
    for suffix, text in texts.items():
        path = stem.with_name(stem.name + suffix)
        write_atomically(path, text.encode())
        paths.append(path)
    return paths


def _spreadsheet_cell(value: object) -> object:
    """Keep a text from being a formula: spreadsheets compute what begins with one of these."""
    is_formula = isinstance(value, str) and value.startswith(('=', '+', '-', '@', '\t', '\r'))
    return f"'{value}" if is_formula else value


def _with_per_image(content: str, per_image: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    if not per_image:
        return content
    # A line an image: indented to the last number, the file would be mostly white space.
    sets = []
    for name, rows in per_image.items():
        lines = ',\n'.join(f'      {json.dumps(_jsonable(row))}' for row in rows)
        sets.append(f'    {json.dumps(name)}: [\n{lines}\n    ]')
    return content.removesuffix('\n}') + ',\n  "per_image": {\n' + ',\n'.join(sets) + '\n  }\n}'


def _cell(column: str, value: object) -> str:
    if value is None:
        return ''
    if isinstance(value, float):
        digits = 4 if any(each in column.upper() for each in ('SSIM', 'LPIPS')) else 2
        return f'{value:.{digits}f}'
    return f'{value:,}' if isinstance(value, int) else str(value)


def _jsonable(row: Mapping[str, object]) -> dict[str, object]:
    # Identical images have an infinite PSNR, for which strict JSON has no number.
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
