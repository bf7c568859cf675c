"""Reading a region cache, and saying what is wrong with it.

A cache is a folder of 16-bit PNG label maps, one per image, under the image's path relative to
its folder with the suffix replaced, next to a ``regions.json``. The maps are the truth
(``map_file.py``); the manifest says what made them (``manifest.py``).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmsamdistill.cache.manifest import fingerprint, read_manifest
from mmsamdistill.cache.map_file import read_map, read_record

# What MMagic's BasicImageDataset looks for.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.tif', '.tiff')


@dataclass
class CacheReport:
    """What is wrong with a cache, by keys.

    Attributes:
        missing: Images without a map.
        stale: Maps whose image, or whose source's parameters, changed since.
        damaged: Maps that cannot be read or contradict their own record.
        different: Maps that the source, asked again, does not reproduce.
        orphaned: Maps without an image; harmless.

    Example:
        >>> CacheReport(missing=['a']).ok
        False
    """

    missing: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every image has a valid map."""
        return not (self.missing or self.stale or self.damaged or self.different)

    def __str__(self) -> str:
        lines = []
        for name in ('missing', 'stale', 'damaged', 'different', 'orphaned'):
            keys = getattr(self, name)
            if keys:
                shown = ', '.join(keys[:10]) + (', ...' if len(keys) > 10 else '')
                lines.append(f'{len(keys)} {name}: {shown}')
        return '\n'.join(lines) or 'complete'


class RegionStore:
    """A region cache on disk.

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

    Source: ours.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(
                f'there is no region cache {self.root}; make it by: {extract_command(root=root)}'
            )

    def path(self, key: str) -> Path:
        """Path of a map, whether it is there or not.

        Args:
            key: Relative path of the image without its suffix, such as ``'a/0001'``.
        """
        return self.root / f'{key}.png'

    def read(self, key: str) -> np.ndarray:
        """Read a map.

        Args:
            key: Relative path of the image without its suffix, such as ``'a/0001'``.

        Returns:
            ``(H, W)`` int32 labels, 0 for no region.

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

    def record(self, key: str) -> dict[str, Any] | None:
        """Where a map comes from; None if the map does not say.

        Args:
            key: Relative path of the image without its suffix.

        Raises:
            FileNotFoundError: If there is no such map.
            ValueError: If it is damaged.
        """
        return read_record(self.path(key))

    def keys(self) -> list[str]:
        """Keys of all maps, sorted."""
        found = []
        for folder, _, names in os.walk(self.root):
            relative = Path(folder).relative_to(self.root)
            # Temporary files of writers start with a dot.
            found += [
                (relative / name[:-4]).as_posix()
                for name in names
                if name.endswith('.png') and not name.startswith('.')
            ]
        return sorted(found)

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What made the cache: see ``regions.json``; None if the folder has none."""
        return read_manifest(self.root)

    def fingerprint(self) -> str | None:
        """Hash of the source's parameters and weights; None if the cache has no manifest.

        Equal to ``manifest.fingerprint(source.describe())`` of the source that made it.
        """
        manifest = self.manifest
        return None if manifest is None else fingerprint(manifest['source'])

    def check(self, image_folder: str | Path) -> CacheReport:
        """Compare a cache with its images: hashes and parameters, without decoding anything.

        Args:
            image_folder: Folder of the images that the maps should be of.

        Returns:
            What is missing, stale, damaged or left over.

        Raises:
            FileNotFoundError: If the folder does not exist.
            ValueError: If two images would share a map.
        """
        images = find_images(image_folder)
        mark = self.fingerprint()
        report = CacheReport(orphaned=sorted(set(self.keys()) - set(images)))
        for key, image in images.items():
            state = self.state(key, hash_file(image), mark)
            if state != 'valid':
                getattr(report, state).append(key)
        return report

    def state(self, key: str, image_hash: str, mark: str | None) -> str:
        """State of one entry.

        Args:
            key: Relative path of the image without its suffix.
            image_hash: SHA-256 of the image file as it is now.
            mark: Fingerprint that the map should have; None for a folder of maps of unknown
                origin, of which nothing more can be said than that they are whole.

        Returns:
            ``'valid'``, ``'missing'``, ``'stale'`` or ``'damaged'``.
        """
        try:
            record = self.record(key)
        except FileNotFoundError:
            return 'missing'
        except ValueError:
            return 'damaged'
        if mark is None:
            return 'valid'
        wanted = {'image_sha256': image_hash, 'fingerprint': mark}
        known = record is not None and wanted.items() <= record.items()
        return 'valid' if known else 'stale'


def find_images(folder: str | Path) -> dict[str, Path]:
    """Find the images of a folder and its sub-folders.

    Args:
        folder: Folder of images.

    Returns:
        Paths by key, the relative path without suffix, sorted by key.

    Raises:
        FileNotFoundError: If there is no such folder or no image in it.
        ValueError: If two images have the same key and so would share a map.

    Source: ours.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no image folder {folder}')
    found: dict[str, Path] = {}
    for place, _, names in os.walk(folder, followlinks=True):
        for path in (Path(place, name) for name in sorted(names)):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith('.'):
                continue
            key = path.relative_to(folder).with_suffix('').as_posix()
            if key in found:
                raise ValueError(
                    f'{found[key]} and {path} would share the region map {key}.png; rename one'
                )
            found[key] = path
    if not found:
        raise FileNotFoundError(f'{folder} contains no image ({", ".join(IMAGE_SUFFIXES)})')
    return dict(sorted(found.items()))


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Args:
        path: Any file.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def extract_command(images: str | Path = 'IMAGES', root: str | Path = 'OUT') -> str:
    """The command that makes a cache, for error messages.

    Args:
        images: Folder of the images. Default: a placeholder.
        root: Folder of the cache. Default: a placeholder.

    Example:
        >>> extract_command('data/gt', 'data/regions')
        'python tools/extract_regions.py data/gt data/regions --source sam --checkpoint SAM.pth'

    Source: ours.
    """
    return f'python tools/extract_regions.py {images} {root} --source sam --checkpoint SAM.pth'
