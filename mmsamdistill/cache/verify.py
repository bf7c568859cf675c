"""Checking a region cache thoroughly: every file decoded, some of them computed again."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from mmsamdistill.cache.image_file import decode_image, find_regions
from mmsamdistill.cache.store import CacheReport, RegionStore, find_images
from mmsamdistill.sources.source import RegionSource


def verify(
    images: str | Path,
    out: str | Path,
    source: RegionSource | None = None,
    count: int = 0,
    *,
    device: str | torch.device = 'cpu',
    seed: int = 0,
) -> CacheReport:
    """Check hashes, sizes and labels of a whole cache, and recompute a sample of it.

    Args:
        images: Folder of the images.
        out: Folder of the cache.
        source: The source that made it; needed to recompute. Default: None.
        count: Number of entries to recompute. Default: 0.
        device: Where to compute. Default: the CPU.
        seed: Which entries are drawn. Default: 0.

    Returns:
        What is missing, stale, damaged, not reproduced or left over.

    Raises:
        FileNotFoundError: If the images or the cache do not exist.
        ValueError: If entries are to be recomputed without a source.

    Source: ours.
    """
    if count and source is None:
        raise ValueError(f'recomputing {count} entries needs the source that made the cache')
    if source is not None:
        source = source.to(device)
    store, found = RegionStore(out), find_images(images)
    report = store.check(images)
    suspects = {*report.missing, *report.stale, *report.damaged}
    sound = [key for key in found if key not in suspects]
    inconsistent = [key for key in sound if not _consistent(store, key)]
    report.damaged = sorted(report.damaged + inconsistent)
    candidates = sorted(set(sound) - set(inconsistent))
    for key in random.Random(seed).sample(candidates, min(count, len(candidates))):
        pixels = decode_image(found[key].read_bytes(), found[key])
        labels, _ = find_regions(pixels, source, False, device)
        if not np.array_equal(labels, store.read(key)):
            report.different.append(key)
    return report


def _consistent(store: RegionStore, key: str) -> bool:
    """Whether a map has the size and the labels that its record says."""
    try:
        labels, record = store.read(key), store.record(key)
    except ValueError:
        return False
    if record is None:
        return True
    present = np.flatnonzero(np.bincount(labels.ravel()))
    expected = np.arange(1, record['regions'] + 1)
    return list(labels.shape) == record['size'] and np.array_equal(present[present > 0], expected)
