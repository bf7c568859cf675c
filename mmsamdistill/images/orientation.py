"""How a camera was held, and what loaders make of it.

A camera stores the pixels as its sensor has them, and says beside them how to turn them. OpenCV
turns them, and so do the region maps that are made from its pixels; loaded with
``color_type='unchanged'`` they stay as stored, and the map has to be turned back.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

_TAG = 0x0112
_TRANSPOSED = (5, 6, 7, 8)
_UNDONE_BY = {6: 8, 8: 6}


def orientation_of(image: Image.Image) -> int:
    """The turn, 1 to 8, that OpenCV makes when it loads an opened image; 1 for none."""
    kind = 'JPEG' if image.format == 'MPO' else image.format
    if kind not in ('JPEG', 'PNG', 'WEBP') or not _opencv_turns(kind):
        return 1
    found = Image.Exif()
    try:
        # Not image.getexif(), which also believes descriptions that OpenCV does not read.
        found.load(image.info.get('exif', b''))
        turn = found.get(_TAG, 1)
    # Pillow's readers of broken entries end in errors of any kind; OpenCV takes those for none.
    except Exception:
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def read_orientation(path: str | Path) -> int:
    """As :func:`orientation_of`, of a file."""
    with Image.open(path) as image:
        return orientation_of(image)


def is_transposed(orientation: int) -> bool:
    """Whether a turn exchanges height and width."""
    return orientation in _TRANSPOSED


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """From the upright image to the pixels as stored; the inverse of :func:`turned`."""
    return turned(pixels, _UNDONE_BY.get(orientation, orientation))


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels as the EXIF standard's orientation tag says."""
    if orientation in _TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def ignores_orientation(color_type: str) -> bool:
    """Whether MMagic's loader leaves the pixels as they are stored."""
    return color_type == 'unchanged' or color_type.endswith('_ignore_orientation')


@cache
def _opencv_turns(kind: str) -> bool:
    """Whether this version of OpenCV turns images of a format: asked, since versions differ."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[_TAG] = 6
    Image.new('RGB', (2, 1)).save(stream, kind, exif=exif)
    decoded = cv2.imdecode(np.frombuffer(stream.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return decoded is not None and decoded.shape[:2] == (2, 1)
