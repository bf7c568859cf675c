"""Whether a region cache fits: one check, for the tool, for a training, and for extraction."""

import contextlib
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmsamdistill.arguments import check_choice
from mmsamdistill.cache.map_file import compact_for_storage
from mmsamdistill.cache.store import RegionStore, add_to_index, describe_differences, fingerprint
from mmsamdistill.files import hash_file
from mmsamdistill.images import decode_image, find_images
from mmsamdistill.regions.agreement import label_agreement
from mmsamdistill.sources.mask_generator import paint_records
from mmsamdistill.sources.source import RegionSource

Images = Mapping[str, Sequence[Path]]
TOLERANCE = 0.01
"""Fraction of pixels that may be in another region when a map is computed again: networks round
differently on other devices."""
# The times of a file that changed so recently may not show that it changes again.
_SETTLED_NS = 2_000_000_000
_KINDS = ('missing', 'stale', 'damaged', 'different', 'orphaned')


@dataclass
class CacheReport:
    """What keeps a cache from fitting, by keys of maps.

    Attributes:
        differences: What its maps were made with differently.
        missing: Images without a map.
        stale: Maps of another image, or by another source than the manifest says.
        damaged: Maps that cannot be read or contradict their own record.
        different: Maps that the source, asked again, does not reproduce.
        orphaned: Maps without an image; harmless.

    Example:
        >>> report = CacheReport(missing=['a'])
        >>> report.ok, str(report), str(CacheReport())
        (False, '1 missing: a', 'fits')
    """

    differences: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every image has a map that is as it should be."""
        return not (
            self.differences or self.missing or self.stale or self.damaged or self.different
        )

    @property
    def keeps_maps(self) -> bool:
        """Whether the maps that are there are right, so that only others have to be made."""
        return not (self.differences or self.different)

    def __str__(self) -> str:
        lines = list(self.differences)
        for name in _KINDS:
            keys = getattr(self, name)
            if keys:
                shown = ', '.join(keys[:5]) + (', ...' if len(keys) > 5 else '')
                lines.append(f'{len(keys)} {name}: {shown}')
        return '; '.join(lines) or 'fits'


def check_cache(
    store: RegionStore,
    images: Images,
    expected: Mapping[str, Any] | None = None,
    source: RegionSource | None = None,
    *,
    hashes: str = 'changed',
    full: bool = False,
) -> CacheReport:
    """Compare a cache with what is expected of it, without computing any region.

    ``images`` says by key from which files a map may have been made: a pair of a degraded and a
    clean image has one map. ``expected`` are entries that the description in ``regions.json`` must
    have; ``source`` must have made it, every parameter and the weights included. ``hashes``: 'all'
    images are hashed, or those that 'changed', by size or times, since the manifest remembered
    them (it is told the new ones), or 'none'. ``full``: each map is decoded and compared with its
    record. Of a folder without manifest only the presence of its maps is known.
    """
    report, manifest = CacheReport(), store.manifest
    made_by = None if manifest is None else manifest['source']
    if made_by is None and (expected or source is not None):
        report.differences = [f'{store.root} has no regions.json: nobody knows what made its maps']
    elif made_by is not None:
        found = describe_differences(made_by, expected, partial=True) if expected else []
        found += describe_differences(made_by, source.describe()) if source is not None else []
        report.differences = list(dict.fromkeys(found))
    judge = Judge(store, manifest, hashes, full)
    for key, files in images.items():
        state = judge.state(key, files)
        if state != 'valid':
            getattr(report, state).append(key)
    if hashes == 'changed':
        # A cache that cannot be written to is checked like any other.
        with contextlib.suppress(OSError):
            add_to_index(store.root, judge.seen)
    return report


@dataclass
class Judge:
    """Says of single entries of a cache in which state they are; see :func:`check_cache`."""

    store: RegionStore
    manifest: Mapping[str, Any] | None
    hashes: str = 'all'
    full: bool = False
    # What the maps said of themselves, of those that are valid.
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Entries of the index whose image's hash was computed and right.
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice(('all', 'changed', 'none'), hashes=self.hashes)
        self.mark = None if self.manifest is None else fingerprint(self.manifest['source'])
        self.index = {} if self.manifest is None else self.manifest['files']

    def state(self, key: str, files: Sequence[Path]) -> str:
        """'valid', 'missing', 'stale' or 'damaged': a map that may be of either of the files."""
        try:
            record = self.store.record(key)
            if self.full and not _is_consistent(self.store.read(key), record):
                return 'damaged'
        except FileNotFoundError:
            return 'missing'
        except ValueError:
            return 'damaged'
        if self.mark is None:
            return 'valid'
        if record is None or record.get('fingerprint') != self.mark:
            return 'stale'
        self.records[key] = record
        if self.hashes == 'none' or self._is_of(key, record, files):
            return 'valid'
        return 'stale'

    def _is_of(self, key: str, record: Mapping[str, Any], files: Sequence[Path]) -> bool:
        wanted, known = record.get('image_sha256'), self.index.get(key, {})
        if self.hashes == 'changed':
            files = [file for file in files if file.is_file()]
            if not files:
                return True  # in a database: there is nothing to compare
            remembered = known.get('stamp') if known.get('image_sha256') == wanted else None
            if remembered is not None and remembered in map(stamp_of, files):
                return True
        for file in files:
            stamp = stamp_of(file) if file.is_file() else None
            if stamp is not None and hash_file(file) == wanted:
                self.seen[key] = index_entry(record, stamp)
                return True
        return False


def index_entry(record: Mapping[str, Any], stamp: list[int] | None) -> dict[str, Any]:
    """What the manifest's index says of a map whose image had these times and this size."""
    entry = {name: record[name] for name in sorted(record) if name != 'fingerprint'}
    if stamp is not None and time.time_ns() - max(stamp[1:]) > _SETTLED_NS:
        entry['stamp'] = stamp
    return entry


def stamp_of(file: Path) -> list[int]:
    """Size and times of a file, which no change of it leaves as they are."""
    found = os.stat(file)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def find_regions(
    pixels: np.ndarray, source: RegionSource, masks: bool, device: str | torch.device
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Regions of an ``(H, W, 3)`` uint8 RGB image as they are stored, made of its ``masks``."""
    image = torch.from_numpy(pixels).to(device).permute(2, 0, 1).float() / 255
    if not masks:
        return compact_for_storage(source(image[None])[0].cpu().numpy()), []
    records = source.records(image)
    return compact_for_storage(paint_records(records, pixels.shape[:2])), records


def compute_again(
    store: RegionStore,
    images: Images,
    source: RegionSource,
    count: int,
    tolerance: float,
    device: str | torch.device,
    seed: int,
) -> list[str]:
    """Compute a few maps again; the keys of those that the source does not reproduce."""
    source, different = source.to(device), []
    for key in random.Random(seed).sample(sorted(images), min(count, len(images))):
        file = _made_from(store, key, images[key])
        labels, _ = find_regions(decode_image(file.read_bytes(), file), source, False, device)
        cached = store.read(key)
        alike = labels.shape == cached.shape and label_agreement(cached, labels) >= 1 - tolerance
        if not alike:
            different.append(key)
    return different


def verify(
    images: str | Path,
    out: str | Path,
    source: RegionSource | None = None,
    count: int = 0,
    *,
    tolerance: float = TOLERANCE,
    device: str | torch.device = 'cpu',
    seed: int = 0,
) -> CacheReport:
    """Check hashes, sizes and labels of a whole cache, and recompute a sample of it.

    Args:
        images: Folder of the images.
        out: Folder of the cache.
        source: The source that should have made it; needed to recompute. Default: None.
        count: Number of entries to recompute. Default: 0.
        tolerance: Fraction of pixels that may then be in another region. Default: 0.01.
        device: Where to compute. Default: the CPU.
        seed: Which entries are drawn. Default: 0.

    Returns:
        What is missing, stale, damaged, not reproduced or left over.

    Raises:
        FileNotFoundError: If the images or the cache do not exist.
        ValueError: If entries are to be recomputed without a source.
    """
    if count and source is None:
        raise ValueError(f'recomputing {count} entries needs the source that made the cache')
    store = RegionStore(out)
    found = {key: (path,) for key, path in find_images(images).files.items()}
    report = check_cache(store, found, source=source, hashes='all', full=True)
    report.orphaned = sorted(set(store.walk()) - set(found))
    wrong = {*report.missing, *report.stale, *report.damaged}
    if count and source is not None:
        sound = {key: files for key, files in found.items() if key not in wrong}
        report.different = compute_again(store, sound, source, count, tolerance, device, seed)
    return report


def _is_consistent(labels: np.ndarray, record: Mapping[str, Any] | None) -> bool:
    """Whether a map has the size and the labels that its record says."""
    if record is None:
        return True
    present = np.flatnonzero(np.bincount(labels.ravel()))
    numbers = present[present > 0].tolist()
    return (
        list(labels.shape) == record.get('size')
        and len(numbers) == record.get('regions')
        and numbers == list(range(1, len(numbers) + 1))
    )


def _made_from(store: RegionStore, key: str, files: Sequence[Path]) -> Path:
    """The file that a map was made from; the first one if it does not say."""
    digest = (store.record(key) or {}).get('image_sha256')
    return next((file for file in files if hash_file(file) == digest), files[0])
