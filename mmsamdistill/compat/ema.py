"""Averaged weights that start from any checkpoint that the model itself can start from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mmsamdistill.compat.import_hook import after_import

MODULE = 'mmengine.hooks.ema_hook'


def _with_state_dict(load: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(load)
    def after_load_checkpoint(hook: Any, runner: Any, checkpoint: dict) -> None:
        load(hook, runner, checkpoint if 'state_dict' in checkpoint else {'state_dict': checkpoint})

    after_load_checkpoint.of_mmsamdistill = True  # type: ignore[attr-defined]
    return after_load_checkpoint


def _amend_ema_hook(module: ModuleType) -> None:
    hook = module.EMAHook
    if not hasattr(hook.after_load_checkpoint, 'of_mmsamdistill'):
        hook.after_load_checkpoint = _with_state_dict(hook.after_load_checkpoint)


def let_ema_start_from_any_checkpoint() -> None:
    """Give ``EMAHook`` a checkpoint without ``state_dict`` as the Runner gives it to the model.

    Reason: of a checkpoint without ``state_dict``, as BasicSR's are and bare weights, MMEngine
    hands everything over to the model, while its ``EMAHook`` stops with ``KeyError: 'state_dict'``.

    Affected: MMEngine up to 0.10.7. Unnecessary once the hook asks as the Runner does.
    """
    after_import(MODULE, _amend_ema_hook)
