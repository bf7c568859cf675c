"""The random state of the model, across an interruption."""

from __future__ import annotations

from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Save torch's random state in every checkpoint and restore it on resuming.

    MMEngine replays the data pipeline when it resumes, which brings its random numbers back, but
    what the model itself draws (dropout, shuffled regions) starts anew. With this hook a resumed
    run draws what an uninterrupted one would have drawn. Each process restores its own state if
    the checkpoint holds one for it; the checkpoint is written by rank 0 and holds rank 0's.

    Source: ours.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the random state to what is about to be written.

        Args:
            runner: The Runner.
            checkpoint: The checkpoint, extended in place by ``random_state``.
        """
        checkpoint['random_state'] = {
            'cpu': torch.get_rng_state(),
            'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the state that a checkpoint brings, if this run resumes from it.

        Args:
            runner: The Runner.
            checkpoint: What has been read.
        """
        if runner._resume:
            self._restored = checkpoint.get('random_state')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Restore once, after the data pipeline has been replayed.

        Args:
            runner: The Runner.
            batch_idx: Unused.
            data_batch: Unused.
        """
        if self._restored is None:
            return
        torch.set_rng_state(self._restored['cpu'].cpu())
        cuda = self._restored['cuda']
        if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in cuda])
        self._restored = None
