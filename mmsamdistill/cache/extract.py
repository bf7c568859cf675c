"""Computing the region maps of a folder of images, resumable and in any number of processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS

from mmsamdistill.cache.image_file import decode_image, find_regions
from mmsamdistill.cache.manifest import (
    describe_differences,
    fingerprint,
    manifest_lock,
    read_manifest,
    write_manifest,
)
from mmsamdistill.cache.map_file import write_map
from mmsamdistill.cache.mask_file import MASK_SUFFIX, write_masks
from mmsamdistill.cache.store import RegionStore, find_images, hash_file
from mmsamdistill.sources.source import RegionSource

Track = Callable[[Sequence[str], str], Iterable[str]]


@dataclass
class ExtractionReport:
    """What a run did.

    Attributes:
        written: Keys computed now.
        skipped: Number of maps that were there and valid.
        failed: Reason by image path.
    """

    written: list[str] = field(default_factory=list)
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def extract(
    images: str | Path,
    out: str | Path,
    source: RegionSource | dict[str, Any],
    *,
    shard: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    masks: bool = False,
    device: str | torch.device = 'cpu',
    track: Track | None = None,
) -> ExtractionReport:
    """Write a region cache: one map per image, and a manifest.

    What is there and valid is kept: a map is done when it is whole and carries the hash of its
    image and the fingerprint of the source. A run that was killed is resumed by calling it again;
    an image that changed is computed again. Processes with different shards share one folder, on
    one machine or many, and two that work on the same image do no harm.

    Args:
        images: Folder of images; sub-folders are searched.
        out: Folder of the cache, neither inside of ``images`` nor around it.
        source: A region source that looks at images, or its configuration.
        shard: ``(index, count)``: do every ``count``-th image from the ``index``-th on, counted
            from 0. Default: all.
        overwrite: Compute everything again, whatever is there. Default: False.
        masks: Also write the full masks, overlaps kept, as ``<key>.masks.json``. Needs a source
            with ``records(image)``, such as ``SAMRegions``. Default: False.
        device: Where to compute. Default: the CPU.
        track: Called with keys and a title; yields the keys and may show progress. Default: no
            progress is shown.

    Returns:
        What was written, skipped, and what failed; one broken image does not stop the others.

    Raises:
        FileNotFoundError: If there are no images.
        TypeError: If the source cannot give what is asked for.
        ValueError: If two images would share a map, or the folder holds a cache that was made
            differently.

    Source: ours.
    """
    source = _ready_source(source, masks, device)
    found = find_images(images)
    _refuse_overlap(Path(images), Path(out))
    description = source.describe()
    Path(out).mkdir(parents=True, exist_ok=True)
    if not overwrite:
        _is_begun(Path(out), description, Path(images))
    writer = _Writer(RegionStore(out), source, fingerprint(description), masks, device)
    report = ExtractionReport()
    mine = shard_of(list(found), *shard)
    track = track or (lambda keys, title: keys)
    if overwrite:
        todo = mine
    else:
        todo = [key for key in track(mine, 'check') if not writer.done(key, found[key])]
    report.skipped = len(mine) - len(todo)
    if todo:
        # A source that cannot work fails here, once, and leaves the folder as it was.
        source.prepare(device)
    _open_cache(Path(out), description, Path(images), overwrite)
    for key in track(todo, 'extract'):
        try:
            writer.write(key, found[key])
            report.written.append(key)
        except Exception as error:
            report.failed[str(found[key])] = f'{type(error).__name__}: {error}'
    update_index(out)
    return report


def shard_of(keys: Sequence[str], index: int, count: int) -> list[str]:
    """The share of one process: every ``count``-th key from the ``index``-th on.

    Args:
        keys: All keys, in an order that every process agrees on.
        index: Number of the process, from 0.
        count: Number of processes.

    Returns:
        The keys of this process.

    Raises:
        ValueError: If there is no such process.

    Example:
        >>> shard_of(['a', 'b', 'c'], 0, 2), shard_of(['a', 'b', 'c'], 1, 2)
        (['a', 'c'], ['b'])

    Source: ours.
    """
    if not 0 <= index < count:
        raise ValueError(
            f'shard {index}/{count}: the index counts from 0, so 0/{count} is the first'
        )
    return list(keys[index::count])


def update_index(out: str | Path) -> None:
    """Rebuild the index in the manifest from the maps themselves.

    Args:
        out: Folder of the cache.

    Source: ours.
    """
    store = RegionStore(out)
    with manifest_lock(out):
        manifest = store.manifest
        files, keys = {}, store.keys()
        for key in keys:
            try:
                record = store.record(key)
            except (FileNotFoundError, ValueError):
                continue  # removed or damaged; `check` tells
            if record and record.get('fingerprint') == manifest['fingerprint']:
                files[key] = {
                    name: record[name] for name in sorted(record.keys() - {'fingerprint'})
                }
        write_manifest(out, manifest['source'], manifest['images'], files)


class _Writer:
    """Computes and writes single entries."""

    def __init__(
        self,
        store: RegionStore,
        source: RegionSource,
        mark: str,
        masks: bool,
        device: str | torch.device,
    ) -> None:
        self.store = store
        self.source = source
        self.mark = mark
        self.masks = masks
        self.device = device

    def done(self, key: str, image: Path) -> bool:
        """Whether the entry is there and valid."""
        if self.masks and not self._mask_path(key).is_file():
            return False
        return self.store.state(key, hash_file(image), self.mark) == 'valid'

    def write(self, key: str, image: Path) -> None:
        """Compute one entry from one reading of the image's file."""
        data = image.read_bytes()
        labels, records = find_regions(
            decode_image(data, image), self.source, self.masks, self.device
        )
        record = {
            'fingerprint': self.mark,
            'image': image.name,
            'image_sha256': hashlib.sha256(data).hexdigest(),
            'size': list(labels.shape),
            'regions': int(labels.max()),
        }
        if self.masks:
            # First, because the map is what marks an entry as done.
            write_masks(self._mask_path(key), records)
        else:
            # Of another image or source by now; beside the new map they would pass for its own.
            self._mask_path(key).unlink(missing_ok=True)
        write_map(self.store.path(key), labels, record)

    def _mask_path(self, key: str) -> Path:
        return self.store.root / f'{key}{MASK_SUFFIX}'


def _ready_source(
    source: RegionSource | dict, masks: bool, device: str | torch.device
) -> RegionSource:
    source = MODELS.build(dict(source)) if isinstance(source, dict) else source
    if not getattr(source, 'online', False):
        raise TypeError(f'{type(source).__name__} does not look at images; choose another source')
    if masks and not hasattr(source, 'records'):
        raise TypeError(
            f'{type(source).__name__} has no method records(image), so there are no full masks to '
            f'write; leave masks out or use SAMRegions'
        )
    return source.to(device).eval()


def _refuse_overlap(images: Path, out: Path) -> None:
    inner, outer = images.resolve(), out.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise ValueError(
            f'{out} and {images} contain each other, so that maps and images would be taken for '
            f'one another; choose a folder beside the images'
        )


def _is_begun(out: Path, source: dict[str, Any], images: Path) -> bool:
    """Whether there is a cache already; one that was made differently is refused."""
    manifest = read_manifest(out)
    if manifest is None:
        if RegionStore(out).keys():
            raise ValueError(
                f'{out} holds maps of unknown origin; choose another folder, or --overwrite'
            )
        return False
    differences = describe_differences(manifest['source'], source)
    before, now = Path(manifest['images']).resolve(), images.resolve()
    # Where the first folder is not to be seen, on another machine, its name has to do.
    if before != now if before.is_dir() else before.name != now.name:
        differences.append(f'images: {before} in the cache, {now} now')
    if differences:
        raise ValueError(
            f'{out} was made differently: {"; ".join(differences)}. Choose another folder, or '
            f'--overwrite to compute everything again'
        )
    return True


def _open_cache(out: Path, source: dict[str, Any], images: Path, overwrite: bool) -> None:
    """Write the manifest of a new cache, unless another process has opened it meanwhile."""
    with manifest_lock(out):
        if overwrite or not _is_begun(out, source, images):
            write_manifest(out, source, str(images))
