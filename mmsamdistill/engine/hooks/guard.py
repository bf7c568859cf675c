"""A training that has gone wrong says so itself, and steps that are no numbers are not taken."""

import functools
import math
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner

from mmsamdistill.arguments import check_flag, check_number, check_positive
from mmsamdistill.engine.batches import files_of
from mmsamdistill.weights.dialects import first_not_finite


class TrainingDivergedError(RuntimeError):
    """The weights, or all of too many steps in a row, are no numbers."""


@HOOKS.register_module()
class FiniteHook(Hook):
    """Skip a step whose gradients are infinite or no numbers, and stop where it goes on so.

    One bad step writes NaN into every weight, and all that follows, checkpoints included, is lost.
    The finding names the terms of the loss (or the first parameter whose gradient it is), the
    iteration and the files of the batch. Weights that are not finite are not saved, so that what
    is on disk when the run stops is good. It costs one look at the gradients' norm in a step. With
    AMP's loss scaling, which skips such steps itself and tries a few, only the loss is judged.

    ``tools/train.py`` registers it in every run.

    Args:
        limit: So many such steps in a row stop the run. Default: 10.
        total: So many such steps in all, since the run was started or resumed. Default: 100.

    Raises:
        ValueError: If ``limit`` or ``total`` is below 1.
        TrainingDivergedError: In training, at a limit, or before weights that are no numbers
            would be saved.
    """

    priority = 'VERY_HIGH'  # before whatever writes the losses down

    def __init__(self, limit: int = 10, total: int = 100) -> None:
        check_number(1, limit=limit, total=total)
        self.limit = limit
        self.total = total
        self.skipped = 0
        self._in_a_row = 0
        self._bad: str | None = None
        self._recent: deque[tuple[Mapping[str, Any], list[str]]] = deque(maxlen=1)

    def before_train(self, runner: Runner) -> None:
        """Stand between gradients and optimiser."""
        wrapped = runner.optim_wrapper
        parts = wrapped.values() if isinstance(wrapped, OptimWrapperDict) else [wrapped]
        self._names = {id(p): name for name, p in runner.model.named_parameters()}
        self._scaled = any(hasattr(part, 'loss_scaler') for part in parts)
        counts = max(getattr(part, '_accumulative_counts', 1) for part in parts)
        self._recent = deque(maxlen=counts)
        for part in parts:
            if not hasattr(part, 'loss_scaler'):
                part.step = self._guarded(part, part.step)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Report a step that was skipped."""
        self._recent.append((outputs or {}, files_of(data_batch)))
        if self._scaled and not _finite(outputs or {}).get('loss', True):
            self._bad = 'the loss'
        if self._bad is None:
            self._in_a_row = 0
            return
        finding = f'iteration {runner.iter + 1}: {self._describe(self._bad)}'
        self._bad = None
        self.skipped += 1
        self._in_a_row += 1
        runner.logger.error(f'step skipped, not finite, {finding}')
        if self.skipped == 1:
            runner.message_hub.update_info('first_not_finite', finding)
        if self._in_a_row >= self.limit:
            self._stop(runner, f'{self._in_a_row} steps in a row are not finite; {finding}')
        if self.skipped >= self.total:
            self._stop(runner, f'{self.skipped} steps in all were not finite; {finding}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep weights that are no numbers from the disk."""
        broken = first_not_finite(checkpoint['state_dict'])
        if broken is not None:
            self._stop(runner, f'iteration {runner.iter}: {broken} is not finite')

    def after_train(self, runner: Runner) -> None:
        """Say how many steps were skipped."""
        if self.skipped:
            runner.logger.warning(f'{self.skipped} steps were skipped, being not finite')

    def _guarded(self, part: OptimWrapper, step: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(step)
        def method(**kwargs: Any) -> None:
            parameters = [p for group in part.param_groups for p in group['params']]
            gradients = [p.grad for p in parameters if p.grad is not None]
            # One number for all of them, so that the device is waited for once.
            if not gradients or bool(_total(gradients).isfinite()):
                step(**kwargs)
                return
            norms = {id(p): float(_total([p.grad])) for p in parameters if p.grad is not None}
            # Each may be finite where their sum is not: then the largest is named.
            bad = next((key for key, norm in norms.items() if not math.isfinite(norm)), None)
            self._bad = f'the gradient of {self._names.get(bad or max(norms, key=norms.get))}'

        return method

    def _describe(self, bad: str) -> str:
        # A term of the loss says more than the parameter that it reached.
        for losses, files in self._recent:
            terms = [name for name, fine in _finite(losses).items() if not fine]
            parts = [term for term in terms if term != 'loss'] or terms
            if parts:
                return f'{", ".join(parts)}; files: {", ".join(files) or "unknown"}'
        files = [file for _, several in self._recent for file in several]
        return f'{bad}; files: {", ".join(files) or "unknown"}'

    def _stop(self, runner: Runner, what: str) -> None:
        broken = first_not_finite(runner.model.state_dict())
        note = Path(runner.work_dir, 'last_checkpoint')
        good = note.read_text() if note.is_file() else 'none was saved'
        raise TrainingDivergedError(
            f'training has diverged, {what}'
            f'{f"; weights are not finite: {broken}" if broken else ""}. Last good checkpoint: '
            f'{good}. Lower the learning rate or the weights of the distillation losses, clip '
            'gradients (optim_wrapper.clip_grad), or look at the files named'
        )


def _total(gradients: list[torch.Tensor]) -> torch.Tensor:
    norms = torch._foreach_norm([gradient.detach() for gradient in gradients])
    return torch.stack([norm.float().to(norms[0].device) for norm in norms]).sum()


def _finite(losses: Mapping[str, Any]) -> dict[str, bool]:
    tensors = {k: v for k, v in losses.items() if 'loss' in k and isinstance(v, torch.Tensor)}
    return {name: bool(torch.isfinite(value).all()) for name, value in tensors.items()}


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
        self, metric: str = 'PSNR', max_drop: float = 1.0, interval: int = 50, stop: bool = False
    ) -> None:
        check_positive(max_drop=max_drop)
        check_number(1, interval=interval)
        check_flag(stop=stop)
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
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look for a loss that is infinite or no number."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        bad = [name for name, fine in _finite(outputs or {}).items() if not fine]
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
