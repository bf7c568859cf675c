"""The numbers of single images, which paired comparisons between models need."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def image_names(paths: Sequence[str]) -> list[str]:
    """Name images by their paths, as shortly as they can be told apart.

    >>> image_names(['data/a/1.png', 'data/b/1.png']), image_names(['data/a/1.png'])
    (['a/1', 'b/1'], ['1'])
    """
    if not all(paths):
        return [str(index) for index in range(len(paths))]
    # What all have in common says nothing; a suffix only where two differ by it alone.
    absolute = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    whole = [Path(os.path.relpath(path, root)) for path in absolute]
    short = [path.with_suffix('').as_posix() for path in whole]
    return short if len(set(short)) == len(short) else [path.as_posix() for path in whole]


def named_rows(
    paths: Sequence[str], values: Sequence[Mapping[str, float]]
) -> list[dict[str, str | float]]:
    """Put a name before the metrics of each image."""
    names = image_names(paths)
    rows: list[dict[str, str | float]] = [
        {'name': name, **row} for name, row in zip(names, values, strict=True)
    ]
    # Folders have no order that two machines share.
    return sorted(rows, key=lambda row: str(row['name'])) if all(paths) else rows
