"""A training that has gone wrong says so itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsamdistill.engine.batches import files_of


@HOOKS.register_module()
class CollapseHook(Hook):
    """Detect a collapse: a loss that is no number, or a validation far below the best one.

    A distillation whose gradients cancel the reconstruction's does not crash: it logs plausible
    losses while the student gets worse. The finding is logged as an error, and kept in the message
    hub as ``collapse`` (None, or what happened and when), so that whoever writes down the result
    of the run can write this down beside it.

    Args:
        metric: Name of the validation's metric, higher is better; of several test sets
            (``'Set5/PSNR'``) each is watched. Default: 'PSNR'.
        max_drop: How far below its best value the metric may fall, in its own units. Default: 1.0,
            one decibel.
        interval: How often the loss is looked at, in iterations: each look waits for the device.
            Default: 50.
        stop: End the run by an exception instead of going on. Default: False.

    Raises:
        ValueError: If ``max_drop`` or ``interval`` is not above 0.
        RuntimeError: With ``stop``, at the collapse.
    """

    # After the hooks that add metrics to those of the validation.
    priority = 'LOW'

    def __init__(
        self,
        metric: str = 'PSNR',
        max_drop: float = 1.0,
        interval: int = 50,
        stop: bool = False,
    ) -> None:
        if max_drop <= 0 or interval < 1:
            raise ValueError(
                f'max_drop and interval must be above 0, got {max_drop} and {interval}'
            )
        self.metric = metric
        self.max_drop = max_drop
        self.interval = interval
        self.stop = stop

    def before_train(self, runner: Runner) -> None:
        """Start without a finding, unless a resumed run has brought one.

        A run that starts does not ask whether the hub has one already: two runs of one process that
        start in the same second have the same name, and with it the same hub.
        """
        for name, value in (('collapse', None), ('collapse_best', {})):
            if runner.iter == 0 or name not in runner.message_hub.runtime_info:
                runner.message_hub.update_info(name, value)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Look for a loss that is infinite or no number."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        bad = [name for name, value in losses.items() if not torch.isfinite(value).all()]
        if bad:
            files = ', '.join(files_of(data_batch)) or 'unknown'
            self._report(runner, runner.iter + 1, f'{", ".join(bad)} not finite; files: {files}')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Compare the validation with the best one so far."""
        bests = runner.message_hub.get_info('collapse_best')
        for name, value in (metrics or {}).items():
            if name.rpartition('/')[2] != self.metric:
                continue
            best = bests.get(name, -math.inf)
            # Comparisons with NaN are false, and NaN is the worst of all collapses.
            if not value >= best - self.max_drop:
                self._report(runner, runner.iter, f'{name} {value:.2f} after {best:.2f}')
            elif value > best:
                bests[name] = value

    def _report(self, runner: Runner, iteration: int, what: str) -> None:
        finding = f'iteration {iteration}: {what}'
        runner.logger.error(f'training has collapsed, {finding}')
        if runner.message_hub.get_info('collapse') is None:
            runner.message_hub.update_info('collapse', finding)
        if self.stop:
            raise RuntimeError(
                f'training has collapsed, {finding}; lower the learning rate or the weight of the '
                'distillation losses, or gate them'
            )
