"""Processes that work together, forked from one that has imported what they need."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import forkserver, get_context
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist


@cache
def context() -> Any:
    """Forks that start in a moment, of a process of its own: one that has trained must not fork."""
    forking = get_context('forkserver')
    needed = ['workers', 'matplotlib.pyplot', 'mmagic.models.base_models', 'torchvision']
    forking.set_forkserver_preload(needed)
    here = str(Path(__file__).parent)
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES='', PYTHONPATH=here):
        forkserver.ensure_running()
    return forking


def together(function: Callable[..., Any], *args: Any) -> list[Any]:
    """Call a function in two processes of one group, and return what each gave.

    It has to be importable: a function of a module beside this one.
    """
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, context()) as pool:
        store = f'file://{folder}/store'
        futures = [pool.submit(_work, rank, store, function, *args) for rank in range(2)]
        return [future.result(240) for future in futures]


def _work(rank: int, store: str, function: Callable[..., Any], *args: Any) -> Any:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank))
    dist.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
    try:
        return function(*args)
    finally:
        # A process that ends with the group alive may abort: Gloo's threads outlive it.
        dist.destroy_process_group()
