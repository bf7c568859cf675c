"""Full masks beside a label map: overlaps kept, run-length encoded as COCO does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmsamdistill.fast_sam.results import run_lengths
from mmsamdistill.files import parse_json, write_atomically
from mmsamdistill.images.limits import check_pixels

MASK_SUFFIX = '.masks.json'
# All masks of a file together, a byte a pixel: as much as a large photograph has masks.
_MAX_BYTES = 1 << 33


def decode_rle(encoded: dict[str, Any]) -> np.ndarray:
    """Undo :func:`run_lengths`: an ``(H, W)`` bool mask."""
    height, width = size_of_rle(encoded)
    counts = encoded.get('counts')
    # Booleans are integers to Python, and no counts.
    if not isinstance(counts, list) or any(type(n) is not int or n < 0 for n in counts):
        raise ValueError("'counts' must be a list of run lengths, integers from 0")
    if sum(counts) != height * width:
        raise ValueError(f'the runs cover {sum(counts)} pixels of a mask of {height} x {width}')
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(height, width, order='F')


def size_of_rle(encoded: Any) -> tuple[int, int]:
    """Height and width that an encoded mask claims."""
    size = encoded.get('size') if isinstance(encoded, dict) else None
    if not isinstance(size, list) or [type(n) for n in size] != [int, int]:
        raise ValueError("a mask must have a 'size' of two integers and 'counts'")
    height, width = size
    check_pixels(height, width, 'it')
    return height, width


def write_masks(path: str | Path, records: list[dict[str, Any]]) -> None:
    """Write the masks of one image, atomically."""
    encoded = [
        {**each, 'segmentation': run_lengths(np.asarray(each['segmentation']) != 0)}
        for each in records
    ]
    # Values that JSON does not know are NumPy's numbers and arrays.
    text = json.dumps(encoded, default=lambda value: value.tolist(), separators=(',', ':'))
    write_atomically(path, text.encode())


def read_masks(path: str | Path) -> list[dict[str, Any]]:
    """Read the masks of one image."""
    records = parse_json(Path(path).read_bytes(), path)
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise ValueError(f'{path} is damaged: it must hold a list of masks')
    masks: list[dict[str, Any]] = []
    try:
        sizes = [size_of_rle(each.get('segmentation')) for each in records]
        # All are of one image; and before memory is asked for, for all of them.
        if len(set(sizes)) > 1 or sum(height * width for height, width in sizes) > _MAX_BYTES:
            raise ValueError(f'{len(sizes)} masks of {sorted(set(sizes))[:3]} are not of one image')
        for each in records:
            masks.append({**each, 'segmentation': decode_rle(each['segmentation'])})
    except ValueError as error:
        raise ValueError(f'{path} is damaged: mask {len(masks)}: {error}') from error
    return masks
