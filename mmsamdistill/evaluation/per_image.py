"""The numbers of single images, which paired comparisons between models need."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# The degraded image first: several of them may share one truth.
_PATHS = ('img_path', 'gt_path')


def sample_path(sample: Mapping[str, Any]) -> str:
    """Where a data sample's image comes from.

    Args:
        sample: A data sample as a dict.

    Returns:
        Path of the degraded image, else of the ground truth, of a video its first frame's; empty
        if the sample does not tell.

    Example:
        >>> sample_path({'img_path': 'blur/1.png', 'gt_path': 'sharp/1.png'})
        'blur/1.png'
    """
    for key in _PATHS:
        path = sample.get(key)
        if isinstance(path, (list, tuple)):
            path = path[0] if path else None
        if path:
            return str(path)
    return ''


def image_names(paths: Sequence[str]) -> list[str]:
    """Name images by their paths, as shortly as they can be told apart.

    What all paths have in common is left out, and so is the suffix unless two images differ by it
    alone. Images without a path are named by their number.

    Args:
        paths: Paths of the images of a data set, see :func:`sample_path`.

    Returns:
        A name for each image, the same for every model that is tested on the data set.

    Example:
        >>> image_names(['data/a/1.png', 'data/b/1.png'])
        ['a/1', 'b/1']
        >>> image_names(['data/a/1.png'])
        ['1']
    """
    if not all(paths):
        return [str(index) for index in range(len(paths))]
    absolute = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    whole = [Path(os.path.relpath(path, root)) for path in absolute]
    short = [path.with_suffix('').as_posix() for path in whole]
    return short if len(set(short)) == len(short) else [path.as_posix() for path in whole]


def named_rows(
    paths: Sequence[str], values: Sequence[Mapping[str, float]]
) -> list[dict[str, str | float]]:
    """Put a name before the metrics of each image.

    Args:
        paths: Path of each image, see :func:`sample_path`.
        values: Metrics of each image.

    Returns:
        One row for each image: ``name`` and its metrics; sorted by name where paths are known,
        since folders have no order that two machines share.

    Example:
        >>> named_rows(['a/1.png', 'a/2.png'], [{'PSNR': 30.0}, {'PSNR': 31.0}])
        [{'name': '1', 'PSNR': 30.0}, {'name': '2', 'PSNR': 31.0}]
    """
    names = image_names(paths)
    rows: list[dict[str, str | float]] = [
        {'name': name, **row} for name, row in zip(names, values, strict=True)
    ]
    return sorted(rows, key=lambda row: str(row['name'])) if all(paths) else rows
