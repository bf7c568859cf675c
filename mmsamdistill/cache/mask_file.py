"""Full masks beside a label map: overlaps kept, run-length encoded as COCO does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmsamdistill.files import write_atomically

MASK_SUFFIX = '.masks.json'


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Run-length encode a binary mask in COCO's uncompressed form.

    Runs alternate between outside and inside, starting with outside, down the columns.

    Args:
        mask: Anything non-zero is inside.

    Shape:
        - mask: ``(H, W)``

    Returns:
        ``size``, ``[H, W]``, and ``counts``, the list of run lengths.

    Example:
        >>> encode_rle(np.array([[1, 0], [1, 1]]))
        {'size': [2, 2], 'counts': [0, 2, 1, 1]}

    Source: the COCO data format.
    """
    flat = np.asarray(mask).astype(bool).ravel(order='F')
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    if flat.size and flat[0]:
        counts = [0, *counts]
    return {'size': list(mask.shape), 'counts': counts}


def decode_rle(encoded: dict[str, Any]) -> np.ndarray:
    """Undo :func:`encode_rle`.

    Args:
        encoded: ``size`` and ``counts``.

    Shape:
        - result: ``(H, W)`` bool

    Returns:
        The mask.

    Raises:
        ValueError: If the runs do not fill the mask exactly.

    Example:
        >>> decode_rle({'size': [2, 2], 'counts': [0, 2, 1, 1]}).astype(int).tolist()
        [[1, 0], [1, 1]]

    Source: the COCO data format.
    """
    counts, (height, width) = encoded['counts'], encoded['size']
    if sum(counts) != height * width:
        raise ValueError(f'the runs cover {sum(counts)} pixels of a mask of {height} x {width}')
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(height, width, order='F')


def write_masks(path: str | Path, records: list[dict[str, Any]]) -> None:
    """Write the masks of one image, atomically.

    Args:
        path: Where to write; parent folders are made.
        records: One per mask: ``segmentation``, an ``(H, W)`` array, and whatever else is known of
            it (``predicted_iou``, ``bbox``, ...).

    Source: ours.
    """
    encoded = [{**each, 'segmentation': encode_rle(each['segmentation'])} for each in records]
    text = json.dumps(encoded, default=_plain, separators=(',', ':'))
    write_atomically(path, text.encode())


def read_masks(path: str | Path) -> list[dict[str, Any]]:
    """Read the masks of one image.

    Args:
        path: A file of :func:`write_masks`.

    Returns:
        One record per mask, ``segmentation`` an ``(H, W)`` bool array.

    Source: ours.
    """
    records = json.loads(Path(path).read_text())
    return [{**each, 'segmentation': decode_rle(each['segmentation'])} for each in records]


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's."""
    return value.tolist()
