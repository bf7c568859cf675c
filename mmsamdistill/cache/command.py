"""The command that makes a region cache, or makes one fit: what error messages end with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any

from mmsamdistill.cache.manifest import flatten
from mmsamdistill.cache.store import RegionStore


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
    folder = manifest.get('images') or _folder_of(images)
    words = ['python', 'tools/extract_regions.py', folder, str(store.root)]
    words += ['--source', wanted.pop('type', made_by.get('type', 'sam'))]
    digest = wanted.pop('checkpoint_sha256', None)
    checkpoint = wanted.pop('checkpoint', None)
    if checkpoint or digest:
        words += ['--checkpoint', str(checkpoint or f'FILE_WITH_SHA256_{digest}')]
    options = [f'{k}={v}' for k, v in flatten(wanted).items() if _can_be_said(k, v)]
    words += ['--cfg-options', *options] if options else []
    words += [] if keep else ['--overwrite']
    return shlex.join(map(str, words))


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
