"""Checkpoints read and written so that no pickle in them can run code."""

import functools
import io
import os
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch

from mmsamdistill.compat.import_hook import Original, after_import, wrap_after_import
from mmsamdistill.weights.reading import (
    CheckpointError,
    allow_mmengine_types,
    load_checkpoint_file,
    load_stream,
    write_history_as_lists,
)

MODULE = 'mmengine.runner.checkpoint'


# The loaders below take the place of MMEngine's in its table of schemes. MMEngine shows the end of
# their names in the log ('Loads checkpoint by local backend').
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Read a local file; see :func:`load_checkpoint_file`."""
    return load_checkpoint_file(filename, map_location)


def load_from_http(
    filename: str,
    map_location: Any = None,
    model_dir: str | None = None,
    progress: bool | None = None,
) -> Any:
    """Download a checkpoint once, into torch's cache, and read it."""
    from mmengine.dist import barrier, get_rank

    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    target = folder / Path(urlparse(filename).path).name
    if get_rank() == 0 and not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shown = os.isatty(0) if progress is None else progress
        torch.hub.download_url_to_file(filename, str(target), progress=shown)
    barrier()
    return load_checkpoint_file(target, map_location)


def load_from_ceph(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """Read a checkpoint from object storage."""
    from mmengine.fileio import get_file_backend

    content = get_file_backend(filename, backend_args={'backend': backend}).get(filename)
    return load_stream(io.BytesIO(content), filename, map_location)


def load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    """Read a checkpoint named in MMEngine's or the user's list of models."""
    from mmengine.runner import checkpoint as host

    name = filename.partition('://')[2]
    name = host.get_deprecated_model_names().get(name, name)
    address = host.get_external_models()[name]
    if address.startswith(('http://', 'https://')):
        return load_from_http(address, map_location)
    return load_checkpoint_file(Path(host._get_mmengine_home(), address), map_location)


def load_from_pavi(filename: str, map_location: Any = None) -> Any:
    """Refuse a service that no longer exists, whose loader in MMEngine unpickles unchecked."""
    raise CheckpointError(f'{filename}: download the file and give its local path instead')


def _safe_torch_load(file: Any, map_location: Any = None, weights_only: Any = None) -> Any:
    """Stand for the loader of a fork of MMEngine, which falls back to unchecked unpickling."""
    if isinstance(file, (str, os.PathLike)):
        return load_checkpoint_file(file, map_location)
    return load_stream(file, 'the stream', map_location)


def _without_config_text(load: Original, *args: Any, **kwargs: Any) -> Any:
    """Drop what MMEngine would parse as Python, and import, when it resumes or infers."""
    checkpoint = load(*args, **kwargs)
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict):
        meta.pop('config', None)
    return checkpoint


def _with_config(
    init_model: Original, inferencer: Any, cfg: Any, weights: Any, *args: Any, **options: Any
) -> Any:
    if not cfg:
        raise ValueError(
            f'{weights}: the configuration stored in a checkpoint is not executed; give the '
            "model's config file"
        )
    return init_model(inferencer, cfg, weights, *args, **options)


def _amend_checkpoint_module(module: ModuleType) -> None:
    register = functools.partial(module.CheckpointLoader.register_scheme, force=True)
    register('', load_from_local)
    register(('http://', 'https://'), load_from_http)
    register('pavi://', load_from_pavi)
    register([r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], load_from_ceph)
    register(('open-mmlab://', 'openmmlab://'), load_from_openmmlab)
    # MMEngine's loaders for torchvision:// and mmcls:// call this one by its global name.
    module.load_from_http = load_from_http  # type: ignore[attr-defined]
    module._safe_torch_load = _safe_torch_load  # type: ignore[attr-defined]


def use_safe_checkpoint_io() -> None:
    """Have MMEngine read every checkpoint with ``weights_only=True``, and execute nothing in it."""
    # MMEngine (to 0.10.7) calls torch.load without weights_only. Up to torch 2.5 that executes
    # whatever the file says; from 2.6 it refuses MMEngine's own checkpoints. There is no fallback
    # to unchecked unpickling. A configuration in a checkpoint, which MMEngine parses as Python, is
    # left aside: it told the number of GPUs in a key (gpu_ids) that is no longer written.
    allow_mmengine_types()
    write_history_as_lists()
    after_import(MODULE, _amend_checkpoint_module)
    wrap_after_import(MODULE, 'CheckpointLoader.load_checkpoint', _without_config_text)
    wrap_after_import('mmengine.infer.infer', 'BaseInferencer._init_model', _with_config)
