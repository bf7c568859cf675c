"""Which images a figure shows and which parts of them it enlarges, by rules that it can state."""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mmsamdistill.arguments import check_number
from mmsamdistill.comparison.columns import TRUTH, Columns
from mmsamdistill.comparison.scores import Scores, format_gain, mean

_CROP = re.compile(r'(?:(?P<name>.+)=)?(?P<left>\d+),(?P<top>\d+),(?P<size>\d+)', re.DOTALL)
PICKS: dict[str, str] = {
    'first': 'the first by name',
    'best': 'those where {last} gains most PSNR over {first}',
    'worst': 'those where {last} gains least PSNR over {first}, or loses most',
    'typical': 'those whose PSNR gain of {last} over {first} is nearest to the median',
}
"""The rules by which images are picked, and what a figure says of them."""


class Box(NamedTuple):
    """A square part of an image, in pixels."""

    left: int
    top: int
    size: int

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """The part itself, a view of the picture of shape (H, W, ...)."""
        return picture[self.top : self.top + self.size, self.left : self.left + self.size]

    def check(self, name: str, shape: tuple[int, ...]) -> 'Box':
        """Refuse a box that is not wholly inside an image of this name and shape."""
        height, width = shape[:2]
        if self.left + self.size > width or self.top + self.size > height:
            raise ValueError(
                f'crop {self.left},{self.top},{self.size} reaches outside of {name}: X + SIZE must '
                f'be at most {width} and Y + SIZE at most {height}'
            )
        return self


def parse_crop(text: str) -> tuple[str | None, Box]:
    """Understand a crop as a user writes it.

    Args:
        text: ``X,Y,SIZE`` in pixels, or ``NAME=X,Y,SIZE`` for one image alone.

    Returns:
        The image, None for all, and the crop; a ValueError for any other text.

    Example:
        >>> parse_crop('night/007=120,40,64')
        ('night/007', Box(left=120, top=40, size=64))
    """
    found = _CROP.fullmatch(text)
    if not found or not int(found['size']):
        raise ValueError(
            f'{text!r} is no crop: expected X,Y,SIZE or NAME=X,Y,SIZE in pixels, such as 120,40,64'
        )
    return found['name'], Box(int(found['left']), int(found['top']), int(found['size']))


def most_different_box(
    first: np.ndarray, last: np.ndarray, truth: np.ndarray, size: int = 96
) -> Box:
    """Find the square in which one model's error differs most from another's, in either direction.

    Choosing crops by hand invites choosing the ones that flatter. This rule can be repeated by
    anyone, and shows losses as readily as gains: the largest ``|MSE(first) - MSE(last)|``.

    Args:
        first: Result of one model, ``(H, W, C)`` uint8.
        last: Result of another.
        truth: Ground truth.
        size: Side of the square in pixels; cut to the image's shorter side. Default: 96.

    Returns:
        The square; of equal ones the topmost, then the leftmost.

    Raises:
        ValueError: If the shapes differ or ``size`` is less than 1.

    Example:
        >>> truth = np.zeros((8, 8, 3), np.uint8)
        >>> last = truth.copy()
        >>> last[4:6, 2:4] = 1
        >>> most_different_box(truth, last, truth, size=2)
        Box(left=2, top=4, size=2)
    """
    if not first.shape == last.shape == truth.shape:
        raise ValueError(
            f'images of different shapes: {first.shape}, {last.shape} and {truth.shape}'
        )
    check_number(1, size=size)
    size = min(size, *truth.shape[:2])
    difference = _squared_error(first, truth) - _squared_error(last, truth)
    # Summed-area table: each window's total in four look-ups, and exact, these being integers.
    table = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    totals = (
        table[size:, size:] - table[:-size, size:] - table[size:, :-size] + table[:-size, :-size]
    )
    top, left = np.unravel_index(np.abs(totals).argmax(), totals.shape)
    return Box(int(left), int(top), size)


def _squared_error(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.square(picture.astype(np.int64) - truth.astype(np.int64)).sum(axis=2)


@dataclass(frozen=True)
class CropChoice:
    """Crops by hand where there are any, by :func:`most_different_box` elsewhere.

    Args:
        by_hand: Pairs of an image and a box; None for the image: all that have no box of their
            own. Default: none.
        size: Side of automatic crops in pixels. Default: 96.
    """

    by_hand: Sequence[tuple[str | None, Box]] = ()
    size: int = 96

    def boxes(self, columns: Columns, key: str, pictures: Mapping[str, np.ndarray]) -> list[Box]:
        """Choose the crops of one image: at least one, all inside of it."""
        # An image's own crops come before those for all, and these before the rule.
        own = [box for name, box in self.by_hand if name == key]
        boxes = own or [box for name, box in self.by_hand if name is None]
        if not boxes:
            first, last = self._compared(columns)
            truth = pictures[TRUTH]
            boxes = [most_different_box(pictures[first], pictures[last], truth, self.size)]
        return [box.check(key, pictures[TRUTH].shape) for box in boxes]

    def check(self, keys: Sequence[str]) -> None:
        """Refuse crops of images that are not shown."""
        for name, _ in self.by_hand:
            if name is not None and name not in keys:
                raise ValueError(f'a crop is given for {name!r}, but the images shown are {keys}')

    def describe(self, columns: Columns, keys: Sequence[str]) -> str:
        """Say in a sentence how the crops of these images were chosen."""
        named = [name for name, _ in self.by_hand]
        if None in named or set(keys) <= set(named):
            return 'Crops: chosen by hand.'
        first, last = self._compared(columns)
        rule = f'where the squared errors of {first} and {last} differ most, in either direction'
        if last == TRUTH:
            rule = f'where the squared error of {first} is largest'
        by_hand = ', '.join(key for key in keys if key in named)
        return f'Crops: {rule}; of {by_hand} by hand.' if by_hand else f'Crops: {rule}.'

    @staticmethod
    def _compared(columns: Columns) -> tuple[str, str]:
        # The truth has no error: against it, one column's own errors count.
        return columns.pair or (columns.names[0], TRUTH)


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
    """
    if rule not in PICKS:
        raise KeyError(f'there is no rule {rule!r}; those are {list(PICKS)}')
    check_number(1, count=count)
    keys = list(scores.values)
    if rule == 'first':
        return keys[:count]
    gains = scores.gains
    if not gains:
        raise ValueError(
            f'rule {rule!r} compares two columns: add the degraded images or another model'
        )
    # Each rule is an order, of which the first are shown.
    middle = statistics.median(gains.values())
    ranks = {
        'best': lambda key: -gains[key],
        'worst': lambda key: gains[key],
        'typical': lambda key: abs(gains[key] - middle) if gains[key] != middle else 0.0,
    }
    return sorted(keys, key=ranks[rule])[:count]


def describe_pick(scores: Scores, rule: str | None, shown: int, total: int) -> str:
    """Say in one or two sentences how a figure's images were picked, and how all others fared.

    Args:
        scores: Scores of all images that were measured.
        rule: A key of :data:`PICKS`; None: named by the user.
        shown: How many are drawn.
        total: How many there are.

    Example:
        >>> from mmsamdistill.evaluation import get_protocol
        >>> describe_pick(Scores(get_protocol('denoise_rgb'), {}, None), None, 2, 68)
        'Images: 2 of 68, chosen by hand.'
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
    """Sum up the gains over all images in a sentence."""
    first, last = scores.pair
    gains = list(scores.gains.values())
    ahead = sum(gain > 0 for gain in gains)
    return (
        f'Mean PSNR gain of {last} over {first} on all {len(gains)}: '
        f'{format_gain(mean(gains))} dB ({format_gain(min(gains))} to {format_gain(max(gains))}), '
        f'ahead on {ahead}.'
    )
