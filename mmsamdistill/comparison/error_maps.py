"""Where a restored image is wrong, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

COLOUR_MAP = 'inferno'
"""Matplotlib's name of the colours: dark is right, and brightness alone tells the order."""
_SHARE = 99.5  # in per cent: a scale that fits the very worst pixel would leave all others dark


def error_map(restored: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Absolute error of every pixel, averaged over the channels.

    Args:
        restored: A restored image.
        truth: Its truth.

    Shape:
        - restored, truth: ``(H, W, C)``
        - returns: ``(H, W)``

    Returns:
        Errors in grey levels, float32.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> error_map(np.full((1, 1, 3), 7, np.uint8), np.array([[[9, 7, 3]]], np.uint8)).item()
        2.0
    """
    if restored.shape != truth.shape:
        raise ValueError(f'images of different shapes: {restored.shape} and {truth.shape}')
    difference = restored.astype(np.float32) - truth.astype(np.float32)
    return np.abs(difference).mean(axis=2, dtype=np.float32)


def common_scale(maps: Sequence[np.ndarray]) -> float:
    """End of a scale that suits several error maps.

    Args:
        maps: Error maps.

    Returns:
        The largest of the maps' 99.5th percentiles, rounded up to a whole grey level, at least 1.

    Example:
        >>> common_scale([np.full((4, 4), 11.2), np.full((4, 4), 3.0)])
        12.0
    """
    ends = [float(np.percentile(each, _SHARE)) for each in maps]
    return float(max(1, math.ceil(max(ends, default=1.0))))


def fit_to_size(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale a picture that is shown as a whole; crops never go through here.

    Args:
        picture: A picture or an error map.
        width: In pixels.
        height: In pixels.

    Shape:
        - picture: ``(H, W)`` or ``(H, W, 3)``

    Returns:
        The picture, reduced by averaging over areas or enlarged by cubic interpolation.

    Example:
        >>> fit_to_size(np.array([[0, 100], [50, 50]], np.uint8), 1, 1).item()
        50
    """
    reduced = width <= picture.shape[1]
    how = cv2.INTER_AREA if reduced else cv2.INTER_CUBIC
    return cv2.resize(picture, (width, height), interpolation=how)
