"""The manifest of a region cache: what made it, from what, and an index of its entries.

``regions.json`` says once for the whole folder which source with which parameters and weights made
the maps, and from which images. Each map carries the fingerprint of that description in itself
(see ``map_file.py``), and so does everything that can differ between maps. The index in the
manifest is therefore derived: it is for people and other programs, is rebuilt from the maps at the
end of every run, and is never asked whether an entry is done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmsamdistill.files import locked, write_atomically

FORMAT_VERSION = 1
MANIFEST_NAME = 'regions.json'


def fingerprint(source: dict[str, Any]) -> str:
    """Short hash of a source's description: equal for equal parameters and weights.

    Args:
        source: What ``RegionSource.describe()`` returns, plain JSON types.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> fingerprint({'a': 1, 'b': 2}) == fingerprint({'b': 2, 'a': 1})
        True

    Source: ours.
    """
    text = json.dumps([FORMAT_VERSION, source], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe_differences(cached: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Which parameters differ between two descriptions of sources.

    Args:
        cached: Description that a cache was made with.
        wanted: Description of the source at hand.

    Returns:
        One phrase per parameter, nested ones with dots.

    Example:
        >>> describe_differences({'a': {'b': 1}, 'c': 2}, {'a': {'b': 3}, 'c': 2})
        ['a.b: 1 in the cache, 3 now']

    Source: ours.
    """
    left, right = _flatten(cached), _flatten(wanted)
    return [
        f'{name}: {left.get(name, "not there")} in the cache, {right.get(name, "not there")} now'
        for name in sorted(left.keys() | right.keys())
        if left.get(name, ...) != right.get(name, ...)
    ]


def read_manifest(root: str | Path) -> dict[str, Any] | None:
    """Read the manifest of a cache.

    Args:
        root: Folder of the cache.

    Returns:
        The manifest, or None if the folder has none: its maps were made by other means.

    Raises:
        ValueError: If it cannot be understood or was written by a newer version.

    Source: ours.
    """
    path = Path(root, MANIFEST_NAME)
    try:
        manifest = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f'{path} is no manifest of a region cache: {error}') from error
    version = manifest.get('format') if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f'{path} has format {version!r}, this version reads {FORMAT_VERSION}; upgrade, or '
            f'extract the regions again into another folder'
        )
    return manifest


def write_manifest(
    root: str | Path,
    source: dict[str, Any],
    images: str,
    files: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write the manifest of a cache, atomically.

    Args:
        root: Folder of the cache.
        source: What ``RegionSource.describe()`` returned.
        images: Folder of the images as the user gave it.
        files: Index of the entries by key. Default: None, empty.

    Source: ours.
    """
    manifest = {
        'format': FORMAT_VERSION,
        'source': source,
        'fingerprint': fingerprint(source),
        'images': images,
        'files': files or {},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + '\n'
    write_atomically(Path(root, MANIFEST_NAME), text.encode())


@contextlib.contextmanager
def manifest_lock(root: str | Path) -> Iterator[None]:
    """Let one process at a time read, derive and write the manifest.

    Without it, a process that was slow to write could replace a newer index by an older one. Where
    files cannot be locked, the manifest may stay behind the maps until the next run.

    Args:
        root: Folder of the cache; made if it is not there.

    Source: ours.
    """
    with locked(Path(root, f'.{MANIFEST_NAME}.lock')):
        yield


def _flatten(value: Any, prefix: str = '') -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat.update(_flatten(item, f'{prefix}.{name}' if prefix else str(name)))
    return flat
