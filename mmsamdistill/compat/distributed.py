"""Several processes on a machine without a GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from mmsamdistill.compat.import_hook import after_import


def _without_gpu() -> bool:
    from mmengine.device import is_mlu_available, is_musa_available, is_npu_available

    others = (is_mlu_available, is_npu_available, is_musa_available)
    return not torch.cuda.is_available() and not any(there() for there in others)


def _amend_init(module: ModuleType) -> None:
    init = module._init_dist_pytorch

    @functools.wraps(init)
    def _init_dist_pytorch(backend: str, init_backend: str = 'torch', **kwargs: Any) -> None:
        if _without_gpu():
            torch.distributed.init_process_group(backend='gloo', **kwargs)
        else:
            init(backend, init_backend=init_backend, **kwargs)

    module._init_dist_pytorch = _init_dist_pytorch  # type: ignore[attr-defined]


def _amend_wrapper(module: ModuleType) -> None:
    init: Callable[..., None] = module.MMDistributedDataParallel.__init__

    @functools.wraps(init)
    def initialise(wrapper: Any, module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs['device_ids'] = None
        init(wrapper, module, *args, **kwargs)

    module.MMDistributedDataParallel.__init__ = initialise


def train_on_several_cpus() -> None:
    """Have ``--launcher pytorch`` start processes that talk over gloo where there is no GPU.

    Reason: MMEngine's launcher sets a CUDA device before anything else, and hands the number of
    one to ``DistributedDataParallel``.

    Affected: MMEngine up to 0.10.7. Unnecessary once it asks which devices there are.
    """
    after_import('mmengine.dist.utils', _amend_init)
    after_import('mmengine.model.wrappers.distributed', _amend_wrapper)
