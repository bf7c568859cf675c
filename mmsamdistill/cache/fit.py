"""Whether a region cache is the one that a training wants, and the command that makes it so."""

from __future__ import annotations

import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonpath
from pathlib import Path
from typing import Any

import torch

from mmsamdistill.cache.image_file import decode_image, find_regions
from mmsamdistill.cache.manifest import describe_differences
from mmsamdistill.cache.store import RegionStore, hash_file
from mmsamdistill.regions.agreement import label_agreement
from mmsamdistill.sources.source import RegionSource

Images = Mapping[str, Sequence[Path]]
_ABSENT = 'not there'


@dataclass
class Fit:
    """What keeps a cache from fitting.

    Attributes:
        differences: What its maps were made with differently.
        missing: Keys of images without a map.
        stale: Keys of maps of another image, or by another source than the manifest says.
        damaged: Keys of maps that cannot be read.
        different: Keys of maps that the source does not reproduce.

    Example:
        >>> Fit(missing=['a']).ok, str(Fit(missing=['a']))
        (False, '1 missing: a')
    """

    differences: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not (
            self.differences or self.missing or self.stale or self.damaged or self.different
        )

    @property
    def keeps_maps(self) -> bool:
        """Whether the maps that are there are right, so that only others have to be made."""
        return not (self.differences or self.different)

    def __str__(self) -> str:
        lines = list(self.differences)
        for name in ('missing', 'stale', 'damaged', 'different'):
            keys = getattr(self, name)
            if keys:
                shown = ', '.join(keys[:5]) + (', ...' if len(keys) > 5 else '')
                lines.append(f'{len(keys)} {name}: {shown}')
        return '; '.join(lines) or 'fits'


def check_fit(
    store: RegionStore,
    images: Images,
    expected: Mapping[str, Any] | None = None,
    source: RegionSource | None = None,
    *,
    hash_images: bool = True,
) -> Fit:
    """Compare a cache with what a training expects of it, without computing any region.

    Args:
        store: The cache.
        images: By key of a map, the files that it may have been made from: a pair of a degraded
            and a clean image has one map.
        expected: Entries that the source's description in ``regions.json`` must have, nested as
            there; others may be anything. Default: None.
        source: The source that must have made the cache, every parameter and the weights
            included. Default: None.
        hash_images: Compare the images' hashes, which reads every file once. Default: True.

    Returns:
        What does not fit. Of a folder without manifest only the presence of its maps is known,
        unless something is expected of it.

    Source: ours.
    """
    fit, manifest = Fit(), store.manifest
    made_by = None if manifest is None else manifest['source']
    if made_by is None and (expected or source is not None):
        fit.differences = [f'{store.root} has no regions.json: nobody knows what made its maps']
    elif made_by is not None:
        fit.differences = _differences(made_by, expected or {})
        if source is not None:
            every = describe_differences(made_by, source.describe())
            fit.differences += [each for each in every if each not in fit.differences]
    mark = store.fingerprint()
    for key, files in images.items():
        state = _state(store, key, files if hash_images else (), mark)
        if state != 'valid':
            getattr(fit, state).append(key)
    return fit


def spot_check(
    store: RegionStore,
    images: Images,
    source: RegionSource,
    count: int,
    *,
    tolerance: float = 0.01,
    device: str | torch.device = 'cpu',
    seed: int = 0,
) -> list[str]:
    """Compute a few maps again.

    Args:
        store: The cache.
        images: As for :func:`check_fit`.
        source: The source that made the cache.
        count: How many maps to compute.
        tolerance: Fraction of pixels that may be in another region: networks round differently on
            other devices. Default: 0.01.
        device: Where to compute. Default: the CPU.
        seed: Which maps are drawn. Default: 0.

    Returns:
        Keys of the maps that the source does not reproduce.

    Source: ours.
    """
    source, different = source.to(device), []
    for key in random.Random(seed).sample(sorted(images), min(count, len(images))):
        file = _made_from(store, key, images[key])
        labels, _ = find_regions(decode_image(file.read_bytes(), file), source, False, device)
        cached = store.read(key)
        alike = labels.shape == cached.shape and label_agreement(cached, labels) >= 1 - tolerance
        if not alike:
            different.append(key)
    return different


def fitting_command(
    store: RegionStore, images: Images, source: Mapping[str, Any] | None, keep: bool
) -> str:
    """The command that makes a cache fit.

    Args:
        store: The cache.
        images: As for :func:`check_fit`.
        source: Configuration or description of the source; None for what made the cache so far.
        keep: Whether the maps that are there are right, and only others have to be made.

    Returns:
        A line for a shell. Where only the hash of a checkpoint is known, its path is to be filled
        in.

    Source: ours.
    """
    manifest = store.manifest or {}
    made_by = manifest.get('source', {})
    wanted = dict(source or made_by or {'type': 'sam', 'checkpoint': 'SAM.pth'})
    folder = manifest.get('images') or _folder_of(images)
    words = ['python', 'tools/extract_regions.py', folder, str(store.root)]
    words += ['--source', wanted.pop('type', made_by.get('type', 'sam'))]
    digest = wanted.pop('checkpoint_sha256', None)
    checkpoint = wanted.pop('checkpoint', None)
    if checkpoint or digest:
        words += ['--checkpoint', str(checkpoint or f'FILE_WITH_SHA256_{digest}')]
    options = [f'{k}={v}' for k, v in _flatten(wanted).items() if _can_be_said(k, v)]
    words += ['--cfg-options', *options] if options else []
    words += [] if keep else ['--overwrite']
    return shlex.join(words)


def _differences(made_by: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    cached = _flatten(made_by)
    return [
        f'{name}: {cached.get(name, _ABSENT)} in the cache, {value} now'
        for name, value in sorted(_flatten(expected).items())
        if cached.get(name, _ABSENT) != value
    ]


def _state(store: RegionStore, key: str, files: Sequence[Path], mark: str | None) -> str:
    """As ``RegionStore.state``, of a map that may be of either of several images."""
    try:
        record = store.record(key)
    except FileNotFoundError:
        return 'missing'
    except ValueError:
        return 'damaged'
    if mark is None:
        return 'valid'
    if record is None or record.get('fingerprint') != mark:
        return 'stale'
    known = not files or record.get('image_sha256') in (hash_file(file) for file in files)
    return 'valid' if known else 'stale'


def _made_from(store: RegionStore, key: str, files: Sequence[Path]) -> Path:
    """The file that a map was made from; the first one if it does not say."""
    digest = (store.record(key) or {}).get('image_sha256')
    return next((file for file in files if hash_file(file) == digest), files[0])


def _folder_of(images: Images) -> str:
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


def _flatten(value: Any, prefix: str = '') -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat.update(_flatten(item, f'{prefix}.{name}' if prefix else str(name)))
    return flat
