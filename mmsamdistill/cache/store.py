"""A region cache: label maps, the manifest beside them, and the command that makes it fit.

The maps, one PNG per image under the image's path relative to its folder, are the truth
(``map_file.py``). ``regions.json`` says once for the whole folder which source with which
parameters and weights made them, and from which images; each map carries the fingerprint of that
description. Its index is derived and is never asked whether an entry is done: it is for people and
other programs, and remembers the size and times of each image's file when its hash was last seen.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from mmagic.registry import MODELS

from mmsamdistill.cache.map_file import MapFile, read_record
from mmsamdistill.files import parse_json, write_atomically

FORMAT_VERSION = 1
MANIFEST_NAME = 'regions.json'


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
                f'mmsamdistill extract_regions IMAGES {root} --source sam --checkpoint SAM.pth'
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
        return self.open(key).read()

    def open(self, key: str) -> MapFile:
        """A map of which parts can be read; errors as of :meth:`read`."""
        path = self.path(key)
        try:
            return MapFile(path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f'region map {path} does not exist; mmsamdistill extract_regions makes it'
            ) from None

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


def fingerprint(source: dict[str, Any]) -> str:
    """Short hash of a source's description: equal for equal parameters and weights."""
    text = json.dumps([FORMAT_VERSION, source], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe_differences(cached: Any, wanted: Any, *, partial: bool = False) -> list[str]:
    """Which parameters differ between two descriptions of sources; nested ones with dots."""
    left, right = flatten(cached), flatten(wanted)
    return [
        f'{name}: {left.get(name, "not there")} in the cache, {right.get(name, "not there")} now'
        for name in sorted(right if partial else left.keys() | right.keys())
        if left.get(name, ...) != right.get(name, ...)
    ]


def flatten(value: Any, prefix: str = '') -> dict[str, Any]:
    """Entries of nested dictionaries, their names joined by dots."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat.update(flatten(item, f'{prefix}.{name}' if prefix else str(name)))
    return flat


def read_manifest(root: str | Path) -> dict[str, Any] | None:
    """Read the manifest of a cache; None if the folder has none: made by other means."""
    path = Path(root, MANIFEST_NAME)
    try:
        manifest = parse_json(path.read_bytes(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
    version = manifest.get('format') if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f'{path} has format {version!r}, this version reads {FORMAT_VERSION}; upgrade, or '
            f'extract the regions again into another folder'
        )
    _check_entries(path, manifest)
    return manifest


def write_manifest(
    root: str | Path,
    source: dict[str, Any],
    images: str,
    files: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write the manifest of a cache, atomically; ``files`` is the index by key."""
    manifest = {
        'format': FORMAT_VERSION,
        'source': source,
        'fingerprint': fingerprint(source),
        'images': images,
        'files': files or {},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + '\n'
    write_atomically(Path(root, MANIFEST_NAME), text.encode())


def add_to_index(root: str | Path, entries: dict[str, dict[str, Any]]) -> None:
    """Add entries to the index, whatever other processes add at the same time."""
    if not entries:
        return
    with manifest_lock(root):
        manifest = read_manifest(root)
        if manifest is not None:
            files = {**manifest['files'], **entries}
            write_manifest(root, manifest['source'], manifest['images'], files)


def manifest_lock(root: str | Path) -> FileLock:
    """Let one process at a time read, derive and write the manifest."""
    Path(root).mkdir(parents=True, exist_ok=True)
    return FileLock(Path(root, f'.{MANIFEST_NAME}.lock'))


def _check_entries(path: Path, manifest: dict[str, Any]) -> None:
    manifest.setdefault('files', {})
    for name, kind, what in (
        ('source', dict, 'the description of a region source'),
        ('images', str, 'the folder of the images'),
        ('files', dict, 'entries by key'),
    ):
        if not isinstance(manifest.get(name), kind) or '\0' in str(manifest.get('images')):
            raise ValueError(
                f'{path} is damaged: {name!r} must be {what}; extract the regions with --overwrite'
            )
    for key, entry in manifest['files'].items():
        if not isinstance(entry, dict):
            raise ValueError(f'{path} is damaged: the entry of {key!r} in "files" is no dictionary')


def fitting_command(
    store: RegionStore,
    images: Mapping[str, Sequence[Path]],
    source: Mapping[str, Any] | None,
    keep: bool,
) -> str:
    """The command that makes a cache fit."""
    manifest = store.manifest or {}
    made_by = manifest.get('source', {})
    wanted = dict(source or made_by or {'type': 'sam', 'checkpoint': 'SAM.pth'})
    folder = manifest.get('images')
    if not folder or (images and not _holds(folder, images)):
        folder = _folder_of(images)
    words = ['mmsamdistill', 'extract_regions', folder, str(store.root)]
    words += ['--source', wanted.pop('type', made_by.get('type', 'sam'))]
    digest = wanted.pop('checkpoint_sha256', None)
    checkpoint = wanted.pop('checkpoint', None)
    if checkpoint or (digest and not _found_by_default(words[-1], digest)):
        words += ['--checkpoint', str(checkpoint or f'FILE_WITH_SHA256_{digest}')]
    options = [f'{k}={v}' for k, v in flatten(wanted).items() if _can_be_said(k, v)]
    words += ['--cfg-options', *options] if options else []
    words += [] if keep else ['--overwrite']
    return shlex.join(map(str, words))


def _found_by_default(source: str, digest: str) -> bool:
    """Whether a source takes these very weights if it is told none, as the learned edges do."""
    try:
        return MODELS.build({'type': source}).describe().get('checkpoint_sha256') == digest
    except Exception:  # it cannot do without, or its wheel is not there
        return False


def _holds(folder: str, images: Mapping[str, Sequence[Path]]) -> bool:
    """Whether the maps were made in a folder of these images, not of others."""
    root = Path(folder).resolve()
    return any(root in file.resolve().parents for files in images.values() for file in files)


def _folder_of(images: Mapping[str, Sequence[Path]]) -> str:
    """Folder that the keys are relative to, of the first candidates."""
    roots = []
    for key, (file, *_) in images.items():
        depth = len(Path(key).parts)
        # A key of more parts than the path, as a data set may give it, tells nothing.
        if depth <= len(file.parents):
            roots.append(str(file.parents[depth - 1]))
    return commonpath(roots) if roots else 'IMAGES'


def _can_be_said(name: str, value: Any) -> bool:
    """Whether an entry of a description is one that a command line takes, and needs."""
    if value is None or isinstance(value, Mapping):
        return False
    defaults = {'model_type': 'custom', 'generator.dtype': 'torch.float32'}
    return name != 'generator.output_mode' and defaults.get(name) != value
