"""A run that is told to stop saves first."""

import atexit
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.dist import all_reduce, get_comm_device, get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

_LAST_VALIDATION = 'last_validation'


class _Workers:
    """Has the workers of data loaders let signals pass for as long as their parent trains.

    Slurm and ``timeout`` signal a whole group of processes. A worker that dies of it ends the run
    in an error before anything is saved.
    """

    def __init__(self, initialise: Callable[[int], None] | None, signals: Sequence[int]) -> None:
        self.initialise, self.signals = initialise, signals
        self.parent_trains = multiprocessing.Value('b', 1, lock=False)
        # Earlier than what ends, and waits for, the processes that are left.
        atexit.register(self.release)

    def release(self) -> None:
        """Have signals work as usual, above all those by which the parent ends a worker."""
        self.parent_trains.value = 0

    def __call__(self, worker: int) -> None:
        for number in self.signals:
            signal.signal(number, self._hear)
        if self.initialise is not None:
            self.initialise(worker)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self.parent_trains.value:
            os._exit(0)


@HOOKS.register_module()
class InterruptionHook(Hook):
    """Save a checkpoint and end the run when a signal asks for it.

    Slurm sends SIGTERM before it ends a job, and SIGUSR1 as early as ``--signal=USR1@120`` says; a
    user presses Ctrl-C. The optimiser's step at hand is finished, a checkpoint is written by the
    run's ``CheckpointHook``, and the run ends with exit code 0; ``--resume`` goes on as if nothing
    had been. A validation at hand is broken off and made up for when the run is resumed, as is one
    that a kill has broken off. A second signal of the kind has its usual effect.

    ``tools/train.py`` registers it in every run.

    Args:
        signals: Names of the signals. Default: SIGTERM, SIGUSR1 and SIGINT.
        interval: Iterations between two agreements of the processes of a distributed run, each
            of which waits for the devices. Default: 10.

    Raises:
        ValueError: If there is no such signal, or ``interval`` is below 1.
    """

    # After the checkpoint of this iteration, and after all that a validation sets up.
    priority = 'LOWEST'

    def __init__(
        self, signals: Sequence[str] = ('SIGTERM', 'SIGUSR1', 'SIGINT'), interval: int = 10
    ) -> None:
        unknown = [name for name in signals if not hasattr(signal.Signals, name)]
        # Windows has no SIGUSR1.
        if interval < 1 or set(unknown) - {'SIGUSR1'}:
            raise ValueError(f'no such signals, or interval={interval} below 1: {unknown}')
        self.signals = [getattr(signal, name) for name in signals if name not in unknown]
        self.interval = interval
        self.received: int | None = None
        self._training = False
        self._previous: dict[int, Any] = {}
        self._workers: list[_Workers] = []

    def listen(self) -> None:
        """Take the signals over, best before workers are started, which hear them as well."""
        if threading.current_thread() is not threading.main_thread():
            return  # where Python does not allow it
        self._process = os.getpid()
        if not self._previous:
            self._previous = {each: signal.signal(each, self._hear) for each in self.signals}

    def before_run(self, runner: Runner) -> None:
        """Listen, if that was not done before."""
        self.listen()

    def before_train(self, runner: Runner) -> None:
        """Make up for the validation that was due when the run was broken off."""
        self._training = True
        for loop in (runner.train_loop, runner.val_loop):
            for loader in _loaders_of(loop):
                loader.worker_init_fn = _Workers(loader.worker_init_fn, self.signals)
                self._workers.append(loader.worker_init_fn)
        due = runner.iter > 0 and _validation_due(runner, runner.iter)
        if due and runner.message_hub.runtime_info.get(_LAST_VALIDATION) != runner.iter:
            runner.logger.info(f'the validation of iteration {runner.iter} is made up for')
            runner.val_loop.run()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save and have the loop end, if all processes know of a signal."""
        if not self._agreed(runner):
            return
        done = runner.iter + 1
        self._save(runner, done)
        if hasattr(runner.train_loop, 'stop_training'):
            runner.train_loop.stop_training = True
        # A validation, or the rest of an epoch, could take longer than there is time.
        if _validation_due(runner, done) or not hasattr(runner.train_loop, 'dataloader_iterator'):
            raise SystemExit(0)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Break a validation off."""
        if self.received is None or not self._training:
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):  # the averaged weights are in the model's place
                hook._swap_ema_parameters()
        self._save(runner, runner.iter)
        raise SystemExit(0)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Note that this iteration's validation is done."""
        runner.message_hub.update_info(_LAST_VALIDATION, runner.iter)

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        self._training = False
        for workers in self._workers:
            workers.release()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if self.received is not None:
            runner.logger.info('stopped by request; `--resume` goes on from here')

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that inherited this: its parent decides
        signal.signal(number, self._previous[number])
        if self._training:
            self.received = number
        else:  # nothing to save yet
            os.kill(os.getpid(), number)

    def _agreed(self, runner: Runner) -> bool:
        alone = get_world_size() == 1
        # Accumulated gradients are in no checkpoint: the optimiser's step is finished first.
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        optimiser_steps = 1 if alone else math.ceil(self.interval / counts)
        if (runner.iter + 1) % (optimiser_steps * counts):
            return False
        if alone:
            return self.received is not None
        # All leave after the same iteration: who is left alone waits for ever.
        flag = torch.tensor([self.received or 0], device=get_comm_device())
        all_reduce(flag, 'max')
        if flag.item():
            self.received = int(flag.item())
        return self.received is not None

    def _save(self, runner: Runner, done: int) -> None:
        name = signal.Signals(self.received or 0).name
        runner.logger.warning(f'{name}: the run ends after iteration {done}')
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if hook is None:
            runner.logger.warning('without a CheckpointHook nothing is saved')
        elif not str(hook.last_ckpt).endswith(os.sep + hook.filename_tmpl.format(done)):
            # Within an epoch a name with its number would say that it is over.
            meta = {'epoch': runner.epoch, 'iter': done}
            hook.filename_tmpl = 'iter_{}.pth' if hook.by_epoch else hook.filename_tmpl
            hook._save_checkpoint_with_step(runner, done, meta=meta)


def _loaders_of(loop: Any) -> list[DataLoader]:
    # MMagic's loop of several validation sets has a list.
    loaders = getattr(loop, 'dataloaders', None) or [getattr(loop, 'dataloader', None)]
    return [loader for loader in loaders if isinstance(loader, DataLoader)]


def _validation_due(runner: Runner, done: int) -> bool:
    """Whether MMEngine's loop validates after so many iterations."""
    loop = runner.train_loop
    if runner.val_loop is None or not hasattr(loop, 'dataloader_iterator'):
        return False
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == loop.max_iters)
