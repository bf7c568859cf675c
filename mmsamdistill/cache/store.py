"""Reading a region cache.

A cache is a folder of PNG label maps, one per image, under the image's path relative to its folder
with the suffix replaced, next to a ``regions.json``. The maps are the truth (``map_file.py``); the
manifest says what made them (``manifest.py``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmsamdistill.cache.manifest import fingerprint, read_manifest
from mmsamdistill.cache.map_file import read_map, read_record, read_size


class RegionStore:
    """A region cache on disk.

    Its keys are the images' relative paths without their suffixes, such as ``'a/0001'``.

    Args:
        root: Folder of the cache. Folders of label maps that were made by other means can be read
            too; they only have no provenance.

    Raises:
        FileNotFoundError: If there is no such folder.

    Example:
        >>> import tempfile
        >>> from mmsamdistill.cache.map_file import write_map
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_map(f'{folder}/a/0001.png', np.array([[0, 1]]), {})
        ...     RegionStore(folder).keys(), RegionStore(folder).read('a/0001').tolist()
        (['a/0001'], [[0, 1]])
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(
                f'there is no region cache {root}; make it by: '
                f'python tools/extract_regions.py IMAGES {root} --source sam --checkpoint SAM.pth'
            )

    def path(self, key: str) -> Path:
        """Path of a map, whether it is there or not."""
        return self.root / f'{key}.png'

    def read(self, key: str) -> np.ndarray:
        """``(H, W)`` int32 labels of a map, 0 for no region.

        Raises:
            FileNotFoundError: If there is no such map.
            ValueError: If it is damaged or no label map.
        """
        path = self.path(key)
        if not path.is_file():
            raise FileNotFoundError(
                f'region map {path} does not exist; tools/extract_regions.py, run as for the rest '
                f'of {self.root}, adds what is missing'
            )
        return read_map(path)

    def size(self, key: str) -> tuple[int, int]:
        """Height and width of a map, without decoding it; raises as :meth:`read`."""
        return read_size(self.path(key))

    def record(self, key: str) -> dict[str, Any] | None:
        """Where a map comes from, None if it does not say; raises as :meth:`read`."""
        return read_record(self.path(key))

    def keys(self) -> list[str]:
        """Keys of all maps, sorted."""
        return sorted(self.walk())

    def walk(self) -> Iterator[str]:
        """Keys of all maps, in any order."""
        for folder, _, names in os.walk(self.root):
            relative = Path(folder).relative_to(self.root)
            for name in names:
                # Temporary files of writers start with a dot.
                if name.endswith('.png') and not name.startswith('.'):
                    yield (relative / name[:-4]).as_posix()

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What made the cache: see ``regions.json``; None if the folder has none."""
        return read_manifest(self.root)

    def fingerprint(self) -> str | None:
        """Hash of the source's parameters and weights; None if the cache has no manifest."""
        manifest = self.manifest
        return None if manifest is None else fingerprint(manifest['source'])
