"""The manifest of a region cache: what made it, from what, and an index of its entries.

``regions.json`` says once for the whole folder which source with which parameters and weights made
the maps, and from which images. Each map carries the fingerprint of that description in itself
(see ``map_file.py``), and so does everything that can differ between maps. The index is derived
and is never asked whether an entry is done: it is for people and other programs, and remembers
the size and the times of each image's file when its hash was last seen.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from mmsamdistill.files import parse_json, write_atomically

FORMAT_VERSION = 1
MANIFEST_NAME = 'regions.json'


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
                f'{path} is damaged: {name!r} must be {what}; extract the regions again by '
                f'tools/extract_regions.py with --overwrite'
            )
    for key, entry in manifest['files'].items():
        if not isinstance(entry, dict):
            raise ValueError(f'{path} is damaged: the entry of {key!r} in "files" is no dictionary')
