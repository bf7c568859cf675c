"""Checkpoints read and written so that no pickle in them can run code."""

import os
from types import ModuleType
from typing import Any

import torch

from mmsamdistill.compat.import_hook import Original, after_import, in_place_of
from mmsamdistill.weights.library_weights import download_once
from mmsamdistill.weights.reading import (
    CheckpointError,
    allow_mmengine_types,
    load_checkpoint_file,
    load_stream,
    write_history_as_lists,
)

MODULE = 'mmengine.runner.checkpoint'


class _SafeTorch(ModuleType):
    """torch as MMEngine's loaders see it: whatever they load, from wherever, is read as data."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file: Any, map_location: Any = None, **options: Any) -> Any:
        """Read a file or a stream, ``weights_only`` in any case."""
        if isinstance(file, (str, os.PathLike)):
            return load_checkpoint_file(file, map_location)
        return load_stream(file, 'the stream', map_location)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Read a local file; MMEngine shows the end of this name in the log ('by local backend')."""
    return load_checkpoint_file(filename, map_location)


def _load_url(url: str, model_dir: str | None = None, map_location: Any = None, **_: Any) -> Any:
    """Download a checkpoint once, into torch's cache, and read it."""
    return load_checkpoint_file(download_once(url, None, model_dir), map_location)


@in_place_of(MODULE, 'CheckpointLoader.load_checkpoint')
def _without_config_text(load: Original, filename: str, *args: Any, **kwargs: Any) -> Any:
    """Drop what MMEngine would parse as Python, and import, when it resumes or infers."""
    try:
        checkpoint = load(filename, *args, **kwargs)
    except CheckpointError as error:  # what comes as a stream does not know its name
        raise CheckpointError(str(error).replace('the stream', filename, 1)) from error
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict):
        meta.pop('config', None)
    return checkpoint


@in_place_of('mmengine.infer.infer', 'BaseInferencer._init_model')
def _with_config(
    init_model: Original, inferencer: Any, cfg: Any, weights: Any, *args: Any, **options: Any
) -> Any:
    if not cfg:
        raise ValueError(
            f'{weights}: the configuration stored in a checkpoint is not executed; give the '
            "model's config file"
        )
    return init_model(inferencer, cfg, weights, *args, **options)


def _amend_checkpoint_module(module: Any) -> None:
    module.torch = _SafeTorch('torch')
    # That of onedl-mmengine allows the builtin getattr, and falls back to unchecked unpickling.
    module._safe_torch_load = module.torch.load
    module.load_url = _load_url
    module.CheckpointLoader.register_scheme('', load_from_local, force=True)


def use_safe_checkpoint_io() -> None:
    """Have MMEngine read every checkpoint with ``weights_only=True``, and execute nothing in it."""
    # MMEngine (to 0.10.7) calls torch.load without weights_only. Up to torch 2.5 that executes
    # whatever the file says; from 2.6 it refuses MMEngine's own checkpoints. There is no fallback
    # to unchecked unpickling. A configuration in a checkpoint, which MMEngine parses as Python, is
    # left aside: it told the number of GPUs in a key (gpu_ids) that is no longer written.
    allow_mmengine_types()
    write_history_as_lists()
    after_import(MODULE, _amend_checkpoint_module)
