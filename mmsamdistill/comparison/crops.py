"""Which part of an image is worth a closer look."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

_CROP = re.compile(r'(?:(?P<name>.+)=)?(?P<left>\d+),(?P<top>\d+),(?P<size>\d+)', re.DOTALL)


class Box(NamedTuple):
    """A square part of an image, in pixels."""

    left: int
    top: int
    size: int

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """The part itself, a view of the picture of shape (H, W, ...)."""
        return picture[self.top : self.top + self.size, self.left : self.left + self.size]

    def check(self, name: str, shape: tuple[int, ...]) -> Box:
        """Refuse a box that is not wholly inside an image.

        Args:
            name: The image, for the message.
            shape: Its height and width, and whatever follows.

        Returns:
            The box.

        Raises:
            ValueError: If it reaches outside.

        Example:
            >>> Box(0, 0, 9).check('cat', (8, 12, 3))
            Traceback (most recent call last):
            ValueError: crop 0,0,9 reaches outside of cat with its 12 x 8 pixels: ...
        """
        height, width = shape[:2]
        if self.left + self.size > width or self.top + self.size > height:
            raise ValueError(
                f'crop {self.left},{self.top},{self.size} reaches outside of {name} with its '
                f'{width} x {height} pixels: X + SIZE must be at most {width} and Y + SIZE at most '
                f'{height}'
            )
        return self


def parse_crop(text: str) -> tuple[str | None, Box]:
    """Understand a crop as a user writes it.

    Args:
        text: ``X,Y,SIZE`` in pixels, or ``NAME=X,Y,SIZE`` for one image alone.

    Returns:
        The image, None for all, and the crop.

    Raises:
        ValueError: If it is something else.

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
    r"""Find the square in which one model's error differs most from another's, in either direction.

    Choosing crops by hand invites choosing the ones that flatter. This rule can be repeated by
    anyone, and it shows where the last model loses as readily as where it gains: the square W with
    the largest

    .. math:: |MSE_W(first, truth) - MSE_W(last, truth)|

    Args:
        first: Result of one model.
        last: Result of another.
        truth: Ground truth.
        size: Side of the square in pixels; cut to the image's shorter side. Default: 96.

    Shape:
        - first, last, truth: ``(H, W, C)`` uint8

    Returns:
        The square; of equal ones the topmost, then the leftmost.

    Raises:
        ValueError: If the shapes differ or ``size`` is less than 1.

    Example:
        >>> truth = np.zeros((8, 8, 3), np.uint8)
        >>> last = truth.copy(); last[4:6, 2:4] = 1
        >>> most_different_box(truth, last, truth, size=2)
        Box(left=2, top=4, size=2)
    """
    if not first.shape == last.shape == truth.shape:
        raise ValueError(
            f'images of different shapes: {first.shape}, {last.shape} and {truth.shape}'
        )
    if size < 1:
        raise ValueError(f'size={size}: a crop has at least one pixel')
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
