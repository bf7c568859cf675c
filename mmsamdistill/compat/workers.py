"""Data-loader workers that start from nothing (spawn, forkserver) need the remedies as well."""

from __future__ import annotations

import multiprocessing.context
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any


def rebuild_process(kind: type[BaseProcess]) -> BaseProcess:
    """Activate the remedies, then make an empty process object; runs in the worker."""
    from mmsamdistill.compat.activation import activate  # which imports this module

    activate()
    return kind.__new__(kind)


def reduce_process(process: BaseProcess) -> tuple[Any, ...]:
    """Pickle a process; if it is a data-loader worker, so that the worker activates us."""
    target = process.__dict__.get('_target')
    if str(getattr(target, '__module__', '')).startswith('torch.utils.data'):
        return rebuild_process, (type(process),), process.__dict__
    return process.__reduce_ex__(2)  # type: ignore[return-value]


def activate_in_spawned_workers() -> None:
    """Activate the remedies in data-loader workers before their dataset is unpickled.

    Reason: a worker that is not forked imports the dataset's module, hence MMagic, before any code
    of the config runs; with NumPy 2 that import fails. A pickle is read in order, so what the
    process is built by runs before its dataset is read. Other processes are left alone.

    Affected: start methods 'spawn' and 'forkserver'. Unnecessary once MMagic imports by itself.
    """
    for name in ('SpawnProcess', 'ForkServerProcess'):
        kind = getattr(multiprocessing.context, name, None)  # Windows has no ForkServerProcess
        if kind is not None:
            ForkingPickler.register(kind, reduce_process)
