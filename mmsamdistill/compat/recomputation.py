"""Activation checkpointing that computes the very gradient."""

from __future__ import annotations

import functools
from types import ModuleType

from torch.utils.checkpoint import checkpoint

from mmsamdistill.compat.import_hook import after_import

MODULE = 'mmengine.runner.activation_checkpointing'


def _amend_checkpoint(module: ModuleType) -> None:
    module.checkpoint = functools.partial(checkpoint, use_reentrant=False)


def recompute_without_losing_gradients() -> None:
    """Let the config's ``activation_checkpointing`` use torch's present form of it.

    Reason: MMEngine calls ``checkpoint`` with its old default. That form drops, without a word, the
    gradient of outputs inside of a list, as the analyser's are, and of modules whose input wants
    none, as the student's; torch advises against it since 2.1.

    Affected: MMEngine up to 0.10.7. Unnecessary once it passes ``use_reentrant=False``.
    """
    after_import(MODULE, _amend_checkpoint)
