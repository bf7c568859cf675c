"""Which crops a figure zooms into, and what it says of how they were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmsamdistill.comparison.columns import TRUTH, Columns
from mmsamdistill.comparison.crops import Box, most_different_box


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
        """Choose the crops of one image.

        Args:
            columns: The columns, which say whose errors are compared.
            key: The image.
            pictures: It, in every column.

        Shape:
            - pictures: ``(H, W, 3)`` uint8

        Returns:
            At least one box.

        Raises:
            ValueError: If a box is not inside of the image.
        """
        own = [box for name, box in self.by_hand if name == key]
        boxes = own or [box for name, box in self.by_hand if name is None]
        if not boxes:
            first, last = self._compared(columns)
            truth = pictures[TRUTH]
            boxes = [most_different_box(pictures[first], pictures[last], truth, self.size)]
        return [box.check(key, pictures[TRUTH].shape) for box in boxes]

    def check(self, keys: Sequence[str]) -> None:
        """Refuse crops of images that are not shown.

        Args:
            keys: The images that are.

        Raises:
            ValueError: If a crop names another.
        """
        for name, _ in self.by_hand:
            if name is not None and name not in keys:
                raise ValueError(f'a crop is given for {name!r}, but the images shown are {keys}')

    def describe(self, columns: Columns, keys: Sequence[str]) -> str:
        """Say how the crops were chosen.

        Args:
            columns: The columns.
            keys: The images that are shown.

        Returns:
            A sentence.
        """
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
