"""Computing the region maps of a folder of images, resumable and in any number of processes."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS

from mmsamdistill.cache.check import Judge, find_regions, index_entry, stamp_of
from mmsamdistill.cache.map_file import MASK_SUFFIX, write_map, write_masks
from mmsamdistill.cache.store import (
    RegionStore,
    add_to_index,
    describe_differences,
    fingerprint,
    manifest_lock,
    read_manifest,
    write_manifest,
)
from mmsamdistill.files import hash_file
from mmsamdistill.images import decode_image, find_images
from mmsamdistill.sources.source import RegionSource

# So many maps are looked at to tell a copy of a folder from another; of a copy most images agree.
_COMPARED = 16
Track = Callable[[Sequence[str], str], Iterable[str]]


@dataclass
class ExtractionReport:
    """What a run did.

    Attributes:
        written: Keys computed now.
        skipped: Number of maps that were there and valid.
        failed: Reason by image path.
        remark: What the folder holds besides images, counted; empty if there is nothing.
    """

    written: list[str] = field(default_factory=list)
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    remark: str = ''


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
    """
    # 1. What cannot be meant is refused, also a folder that was made differently.
    source = _ready_source(source, masks, device)
    images, out, folder = Path(images), Path(out), find_images(images)
    _refuse_overlap(images, out)
    description = source.describe()
    out.mkdir(parents=True, exist_ok=True)
    if not overwrite:
        _is_begun(out, description, images)
    # 2. Of this process's share, leave out what is done.
    track = track or (lambda keys, title: keys)
    writer = _Writer(RegionStore(out), source, fingerprint(description), masks, device)
    todo = mine = shard_of(list(folder.files), *shard)
    index: dict[str, dict[str, Any]] = {}
    if not overwrite:
        todo, index = _not_done(track(mine, 'check'), folder.files, writer)
    report = ExtractionReport(skipped=len(mine) - len(todo), remark=folder.remark())
    # 3. Compute and write the rest.
    if todo:
        # A source that cannot work fails here, once, and leaves the folder as it was.
        source.prepare(device)
    open_cache = partial(_open_cache, out, description, images, overwrite)
    index |= _compute(track(todo, 'extract'), folder.files, writer, open_cache, report)
    add_to_index(out, index)
    return report


def shard_of(keys: Sequence[str], index: int, count: int) -> list[str]:
    """The share of one process: every ``count``-th key from the ``index``-th on."""
    if not 0 <= index < count:
        raise ValueError(
            f'shard {index}/{count}: the index counts from 0, so 0/{count} is the first'
        )
    return list(keys[index::count])


@dataclass
class _Writer:
    """Computes and writes single entries."""

    store: RegionStore
    source: RegionSource
    mark: str
    masks: bool
    device: str | torch.device

    def compute(self, image: Path) -> tuple[dict[str, Any], list[int], np.ndarray, list]:
        """Record, stamp, labels and masks of an image, from one reading of its file."""
        stamp, data = stamp_of(image), image.read_bytes()
        pixels = decode_image(data, image)
        labels, masks = find_regions(pixels, self.source, self.masks, self.device)
        record = {
            'fingerprint': self.mark,
            'image': image.name,
            'image_sha256': hashlib.sha256(data).hexdigest(),
            'size': list(labels.shape),
            'regions': int(labels.max()),
        }
        return record, stamp, labels, masks

    def write(
        self, key: str, record: dict[str, Any], stamp: list[int], labels: np.ndarray, masks: list
    ) -> dict[str, Any]:
        """Write the map; what the index should say of it."""
        if self.masks:
            # First, because the map is what marks an entry as done.
            write_masks(self.mask_path(key), masks)
        else:
            # Of another image or source by now; beside the new map they would pass for its own.
            self.mask_path(key).unlink(missing_ok=True)
        write_map(self.store.path(key), labels, record)
        return index_entry(record, stamp)

    def mask_path(self, key: str) -> Path:
        return self.store.root / f'{key}{MASK_SUFFIX}'


def _not_done(
    keys: Iterable[str], images: Mapping[str, Path], writer: _Writer
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Keys without a valid entry, and what the index should say of the others."""
    judge = Judge(writer.store, writer.store.manifest)
    judge.mark = writer.mark
    todo, index = [], {}
    for key in keys:
        there = not writer.masks or writer.mask_path(key).is_file()
        if there and judge.state(key, (images[key],)) == 'valid':
            index[key] = judge.seen[key]
        else:
            todo.append(key)
    return todo, index


def _compute(
    keys: Iterable[str],
    images: Mapping[str, Path],
    writer: _Writer,
    open_cache: Callable[[], None],
    report: ExtractionReport,
) -> dict[str, dict[str, Any]]:
    """What the index should say of the maps made now; a broken image does not stop the others."""
    index = {}
    is_open = False
    for key in keys:
        try:
            entry = writer.compute(images[key])
        except Exception as error:
            report.failed[str(images[key])] = f'{type(error).__name__}: {error}'
            continue
        # Only now, so that a source that fails at every image leaves nothing in the way of another.
        if not is_open:
            open_cache()
            is_open = True
        try:
            index[key] = writer.write(key, *entry)
            report.written.append(key)
        except Exception as error:
            report.failed[str(images[key])] = f'{type(error).__name__}: {error}'
    return index


def _ready_source(
    source: RegionSource | dict, masks: bool, device: str | torch.device
) -> RegionSource:
    source = MODELS.build(dict(source)) if isinstance(source, dict) else source
    if not getattr(source, 'online', False):
        raise TypeError(f'{type(source).__name__} does not look at images; choose another source')
    if masks and not hasattr(source, 'records'):
        raise TypeError(
            f'{type(source).__name__} has no records(image): leave masks out or use SAMRegions'
        )
    return source.to(device).eval()


def _refuse_overlap(images: Path, out: Path) -> None:
    inner, outer = images.resolve(), out.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise ValueError(
            f'{out} and {images} contain each other; choose a folder beside the images'
        )


def _is_begun(out: Path, source: dict[str, Any], images: Path) -> bool:
    """Whether there is a cache already; one that was made differently is refused."""
    manifest = read_manifest(out)
    if next(RegionStore(out).walk(), None) is None:
        return False  # nobody loses anything, whatever the manifest says
    if manifest is None:
        raise ValueError(
            f'{out} holds maps of unknown origin; choose another folder, or --overwrite'
        )
    differences = describe_differences(manifest['source'], source)
    before, now = Path(manifest['images']).resolve(), images.resolve()
    # Where the first folder is not to be seen, on another machine, its name has to do.
    other = before != now if before.is_dir() else before.name != now.name
    if other and not _made_of(RegionStore(out), now):
        differences.append(f'images: {before} in the cache, {now} now')
    if differences:
        raise ValueError(
            f'{out} was made differently: {"; ".join(differences)}. Choose another folder, or '
            f'--overwrite to compute everything again'
        )
    return True


def _made_of(store: RegionStore, images: Path) -> bool:
    """Whether the folder is a copy of that which a cache was made of, by a few of its images."""
    for key in itertools.islice(store.walk(), _COMPARED):
        try:
            record = store.record(key) or {}
            path = images / Path(key).parent / str(record.get('image'))
            if path.is_file() and hash_file(path) == record.get('image_sha256'):
                return True
        except ValueError:
            continue  # damaged: it will be made again
    return False


def _open_cache(out: Path, source: dict[str, Any], images: Path, overwrite: bool) -> None:
    """Write the manifest of a new cache, unless another process has opened it meanwhile."""
    with manifest_lock(out):
        if overwrite or not _is_begun(out, source, images):
            write_manifest(out, source, str(images))
