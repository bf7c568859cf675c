"""Numbers of every image in every column."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from mmsamdistill.comparison.columns import TRUTH, Columns
from mmsamdistill.evaluation import Protocol, get_protocol, measure

MINUS = '\N{MINUS SIGN}'  # a hyphen is too short beside a plus


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Args:
        protocol: How.
        values: ``values[key][column][metric]`` of all columns but the truth.
        pair: The columns between which gains are meant; None: there are no gains.
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
        # Two infinite values differ by nothing, not by NaN.
        return 0.0 if a == b else b - a

    def mean(self, column: str, metric: str) -> float:
        """Mean of a metric over the images, as test sets are reported."""
        return mean([values[column][metric] for values in self.values.values()])


def score_images(columns: Columns, protocol: str | Protocol | Mapping = 'denoise_rgb') -> Scores:
    """Measure all images, which also proves that all of them can be read and fit each other.

    Args:
        columns: The images.
        protocol: See :func:`~mmsamdistill.evaluation.get_protocol`. What is measured are the
            files, which are of 8 bit whatever the protocol says of rounding.

    Raises:
        KeyError: If there is no such protocol.
        ValueError: If an image cannot be read, or is too small for the protocol.
    """
    protocol = get_protocol(protocol)
    values = {
        key: _score_pictures(columns.read(key), protocol, str(columns.files[TRUTH][key]))
        for key in tqdm(columns.keys, desc='measure', unit='image', disable=None)
    }
    return Scores(protocol, values, columns.pair)


def _score_pictures(
    pictures: Mapping[str, np.ndarray], protocol: Protocol, name: str
) -> dict[str, dict[str, float]]:
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


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of gains that are infinite in both directions."""
    return sum(values) / len(values)


def format_score(metric: str, value: float) -> str:
    """Write a number as tables do: PSNR with two digits, SSIM with four.

    Example:
        >>> format_score('PSNR', math.inf), format_score('SSIM', 0.91236)
        ('∞', '0.9124')
    """
    if not math.isfinite(value):
        return '∞' if value > 0 else 'n/a'
    return f'{value:.4f}' if metric == 'SSIM' else f'{value:.2f}'


def format_gain(value: float) -> str:
    """Write a difference of two PSNR values in dB with its sign; 0.00 has none."""
    if not math.isfinite(value):
        return {math.inf: '+∞', -math.inf: f'{MINUS}∞'}.get(value, 'n/a')
    text = f'{value:+.2f}'
    return '0.00' if float(text) == 0 else text.replace('-', MINUS)


def summary_rows(columns: Sequence[str], scores: Scores) -> list[dict[str, Any]]:
    """The means of every column but the truth, one row each.

    Rows have ``column``, ``PSNR``, ``SSIM``, and ``gain`` over the first of the pair, if any.
    """
    rows: list[dict[str, Any]] = []
    for name in columns:
        if name == TRUTH:
            continue
        row: dict[str, Any] = {'column': name}
        row.update({metric: scores.mean(name, metric) for metric in ('PSNR', 'SSIM')})
        if scores.pair:
            first = scores.pair[0]
            row['gain'] = mean([scores.gain(key, first, name) for key in scores.values])
        rows.append(row)
    return rows
