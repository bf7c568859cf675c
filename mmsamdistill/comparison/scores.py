"""Numbers of every image in every column, and the images that they single out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from mmsamdistill.comparison.columns import TRUTH, Columns
from mmsamdistill.evaluation import Protocol, get_protocol, measure

PICKS: dict[str, str] = {
    'first': 'the first by name',
    'best': 'those where {last} gains most PSNR over {first}',
    'worst': 'those where {last} gains least PSNR over {first}, or loses most',
    'typical': 'those whose PSNR gain of {last} over {first} is nearest to the median',
}
"""The rules by which images are picked, and what a figure says of them."""


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Args:
        protocol: How.
        values: ``values[key][column][metric]`` of all columns but the truth.
        pair: The columns between which gains are meant; None: there are no gains.

    Source: ours.
    """

    protocol: Protocol
    values: Mapping[str, Mapping[str, Mapping[str, float]]]
    pair: tuple[str, str] | None

    @property
    def gains(self) -> dict[str, float]:
        """PSNR of the pair's second column minus that of its first in dB, by image."""
        if self.pair is None:
            return {}
        return {key: self.gain(key, *self.pair) for key in self.values}

    def gain(self, key: str, first: str, last: str) -> float:
        """PSNR of one column minus that of another in dB; 0 if both restored it perfectly."""
        a, b = (self.values[key][name]['PSNR'] for name in (first, last))
        return 0.0 if a == b else b - a

    def mean(self, column: str, metric: str) -> float:
        """Mean of a metric over the images, as test sets are reported."""
        return statistics.fmean(values[column][metric] for values in self.values.values())


def score_images(columns: Columns, protocol: str | Protocol | Mapping = 'denoise_rgb') -> Scores:
    """Measure all images, which also proves that all of them can be read and fit each other.

    Args:
        columns: The images.
        protocol: See :func:`~mmsamdistill.evaluation.get_protocol`. What is measured are the
            files, which are of 8 bit whatever the protocol says of rounding.

    Returns:
        The scores.

    Raises:
        KeyError: If there is no such protocol.
        ValueError: If an image cannot be read, or is too small for the protocol.

    Source: ours.
    """
    protocol = get_protocol(protocol)
    values = {
        key: score_pictures(columns.read(key), protocol, str(columns.files[TRUTH][key]))
        for key in tqdm(columns.keys, desc='measure', unit='image', disable=None)
    }
    return Scores(protocol, values, columns.pair)


def score_pictures(
    pictures: Mapping[str, np.ndarray], protocol: Protocol, name: str = 'image'
) -> dict[str, dict[str, float]]:
    """Measure one image in all columns but the truth.

    Args:
        pictures: Pictures by column, among them the truth.
        protocol: How.
        name: The image, for the message.

    Shape:
        - pictures: ``(H, W, 3)`` uint8

    Returns:
        Metrics by column.

    Raises:
        ValueError: If the image is too small for the protocol.

    Source: ours.
    """
    planes = {column: picture.transpose(2, 0, 1) for column, picture in pictures.items()}
    truth = planes.pop(TRUTH)
    scores = {}
    for column, picture in planes.items():
        try:
            metrics = measure(picture, truth, protocol)
        except ValueError as error:
            raise ValueError(f'{name} cannot be measured by {protocol.name}: {error}') from error
        scores[column] = {metric: value.item() for metric, value in metrics.items()}
    return scores


def pick_images(scores: Scores, rule: str, count: int) -> list[str]:
    """Pick images by a rule that a figure can state.

    Args:
        scores: Scores of all images.
        rule: A key of :data:`PICKS`.
        count: How many; fewer if there are fewer.

    Returns:
        Keys of the images, what the rule wants most first.

    Raises:
        KeyError: If there is no such rule.
        ValueError: If ``count`` is less than 1, or the rule needs gains and there are none.

    Source: ours.
    """
    if rule not in PICKS:
        raise KeyError(f'there is no rule {rule!r}; those are {list(PICKS)}')
    if count < 1:
        raise ValueError(f'count={count}: at least one image is needed')
    keys = list(scores.values)
    if rule == 'first':
        return keys[:count]
    gains = scores.gains
    if not gains:
        raise ValueError(
            f'rule {rule!r} compares two columns, but there is one: add the degraded images or '
            f'another model'
        )
    middle = statistics.median(gains.values())
    ranks = {
        'best': lambda key: -gains[key],
        'worst': lambda key: gains[key],
        'typical': lambda key: abs(gains[key] - middle) if gains[key] != middle else 0.0,
    }
    return sorted(keys, key=ranks[rule])[:count]


def describe_pick(scores: Scores, rule: str | None, shown: int, total: int) -> str:
    """Say how a figure's images were picked, and how all the others fared.

    Args:
        scores: Scores of all images that were measured.
        rule: A key of :data:`PICKS`; None: named by the user.
        shown: How many are drawn.
        total: How many there are.

    Returns:
        One or two sentences.

    Example:
        >>> describe_pick(Scores(get_protocol('denoise_rgb'), {}, None), None, 2, 68)
        'Images: 2 of 68, chosen by hand.'

    Source: ours.
    """
    if rule is None:
        return f'Images: {shown} of {total}, chosen by hand.'
    if shown == total:
        text = f'Images: all {total}.' if total > 1 else 'Images: the only one.'
    else:
        first, last = scores.pair or ('', '')
        wording = PICKS[rule].format(first=first, last=last)
        text = f'Images: {shown} of {total}, {wording}.'
    if len(scores.values) == total and total > 1 and scores.pair:
        text += f' {describe_gains(scores)}'
    return text


def describe_gains(scores: Scores) -> str:
    """Sum up the gains over all images.

    Args:
        scores: Scores with a pair.

    Returns:
        One sentence.

    Source: ours.
    """
    first, last = scores.pair
    gains = list(scores.gains.values())
    ahead = sum(gain > 0 for gain in gains)
    return (
        f'Over all {len(gains)}, {last} gains {format_gain(statistics.fmean(gains))} dB over '
        f'{first} on average ({format_gain(min(gains))} to {format_gain(max(gains))}), and is '
        f'ahead on {ahead}.'
    )


def format_score(metric: str, value: float) -> str:
    """Write a number as tables do: PSNR with two digits, SSIM with four.

    Args:
        metric: 'PSNR' or 'SSIM'.
        value: The value.

    Returns:
        The number.

    Example:
        >>> format_score('PSNR', math.inf), format_score('SSIM', 0.91236)
        ('∞', '0.9124')

    Source: ours.
    """
    if math.isinf(value):
        return '∞'
    return f'{value:.4f}' if metric == 'SSIM' else f'{value:.2f}'


def format_gain(value: float) -> str:
    """Write a difference of two PSNR values with its sign.

    Args:
        value: The difference in dB.

    Returns:
        The number.

    Example:
        >>> format_gain(-0.126), format_gain(0.001)
        ('−0.13', '0.00')

    Source: ours.
    """
    if math.isinf(value):
        return '+∞' if value > 0 else '−∞'
    text = f'{value:+.2f}'
    return '0.00' if float(text) == 0 else text.replace('-', '−')


def summary_rows(columns: Sequence[str], scores: Scores) -> list[dict[str, str | float]]:
    """The means of every column, one row each.

    Args:
        columns: Which columns, the truth among them or not.
        scores: The scores.

    Returns:
        Rows with ``column``, ``PSNR``, ``SSIM`` and, with a pair, ``gain`` over its first.

    Source: ours.
    """
    rows: list[dict[str, str | float]] = []
    for name in columns:
        if name == TRUTH:
            continue
        row: dict[str, str | float] = {'column': name}
        row.update({metric: scores.mean(name, metric) for metric in ('PSNR', 'SSIM')})
        if scores.pair:
            first = scores.pair[0]
            row['gain'] = statistics.fmean(scores.gain(key, first, name) for key in scores.values)
        rows.append(row)
    return rows
