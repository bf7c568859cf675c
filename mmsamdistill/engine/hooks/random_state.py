"""The random state of the model, the same after an interruption as without one."""

from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsamdistill.engine.batches import iteration_generator


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Seed torch anew in every training iteration, so that a resumed run repeats the whole one.

    The data pipeline's random numbers depend on the batch's number (compat/skipping.py), but what
    the model itself draws (dropout, shuffled regions) starts anew after resuming. With this hook
    these draws depend on the run's seed, the process and the iteration alone: on nothing that a
    checkpoint would have to keep for every process, nor on whether there was a validation between.
    """

    # Before whatever draws in this iteration.
    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed."""
        seed = int(iteration_generator(runner, 'RandomStateHook').integers(2**63))
        # Not torch.manual_seed: for each kind of device that is not in use it formats the call
        # stack, in every step, which takes a hundred times as long as the seeding.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(seed)
