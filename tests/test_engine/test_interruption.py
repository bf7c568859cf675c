"""A run that is told to stop saves, ends, and goes on as if nothing had been."""

import multiprocessing
import os
import signal
import subprocess

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from toy import config, plain_model, run_training, write_data

from mmsamdistill.engine import InterruptionHook

pytestmark = pytest.mark.slow  # whole runs


class Send(Hook):
    """Sends this process and its workers a signal at a step, or while an image is validated."""

    def __init__(self, number, step=None, image=None):
        self.number, self.step, self.image = number, step, image
        self.older, self.workers = multiprocessing.active_children(), 0

    def send(self):
        workers = [each for each in multiprocessing.active_children() if each not in self.older]
        self.workers += len(workers)
        for each in workers:
            # From a third process: what their parent sends, they take for the end of their work.
            subprocess.run(['kill', f'-{int(self.number)}', str(each.pid)], check=True)
            # Time to die, and for the data loader to see it.
            each.join(0.3)
        os.kill(os.getpid(), self.number)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.step:
            self.send()

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx == self.image:
            self.send()


def settings(data, work_dir, **changes):
    hooks = {
        'logger': {'type': 'LoggerHook', 'interval': 1},
        'checkpoint': {
            'type': 'CheckpointHook',
            'interval': 10,
            'by_epoch': False,
            'save_best': 'PSNR',
            'rule': 'greater',
        },
    }
    loop = {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': 2}
    custom = [{'type': 'RandomStateHook'}, {'type': 'InterruptionHook'}, {'type': 'EMAHook'}]
    return config(
        data,
        work_dir,
        plain_model(),
        default_hooks=hooks,
        train_cfg=loop,
        custom_hooks=custom,
        **changes,
    )


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('whole')
    run_training(settings(data, work_dir))
    return work_dir


def read(path):
    return torch.load(path, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('number', 'when', 'saved', 'workers'),
    [
        (signal.SIGTERM, {'step': 1}, 1, 0),
        (signal.SIGTERM, {'step': 1}, 1, 2),
        (signal.SIGUSR1, {'step': 2}, 2, 1),  # a validation is due
        (signal.SIGINT, {'image': 1}, 2, 1),
    ],
)
def test_a_stopped_run_saves_and_resumes_to_the_same_end(
    data, whole, tmp_path, number, when, saved, workers
):
    cfg = settings(data, tmp_path)
    cfg.train_dataloader.num_workers = workers
    cfg.train_dataloader.persistent_workers = workers > 0
    runner = Runner.from_cfg(cfg)
    send = Send(number, **when)
    # Before the hook under test has the run saved, as a signal can come at any time.
    runner.register_hook(send, priority='VERY_HIGH')
    before = signal.getsignal(number)
    code = 0
    try:
        runner.train()
    except SystemExit as end:
        code = end.code
        runner.call_hook('after_train')  # what the end of the process would do for signals
    assert code == 0
    assert send.workers == workers
    assert signal.getsignal(number) is before
    assert read((tmp_path / 'last_checkpoint').read_text())['meta']['iter'] == saved
    run_training(settings(data, tmp_path, resume=True))

    (best,) = whole.glob('best_*.pth')
    for name in ('iter_4.pth', best.name):
        one, other = read(whole / name), read(tmp_path / name)
        for key in ('state_dict', 'ema_state_dict'):
            for name, value in one[key].items():
                assert torch.equal(value, other[key][name]), (key, name)
    assert (
        one['message_hub']['runtime_info']['best_score']
        == other['message_hub']['runtime_info']['best_score']
    )


def test_accumulated_gradients_are_not_lost(data, tmp_path):
    def accumulating(name, **changes):
        cfg = settings(data, tmp_path / name, **changes)
        cfg.optim_wrapper.accumulative_counts = 3
        cfg.train_cfg = {'type': 'IterBasedTrainLoop', 'max_iters': 6, 'val_interval': 6}
        return cfg

    run_training(accumulating('whole'))
    runner = Runner.from_cfg(accumulating('broken'))
    runner.register_hook(Send(signal.SIGTERM, step=1), priority='VERY_HIGH')
    runner.train()
    assert read((tmp_path / 'broken/last_checkpoint').read_text())['meta']['iter'] == 3
    run_training(accumulating('broken', resume=True))
    one, other = (read(tmp_path / name / 'iter_6.pth') for name in ('whole', 'broken'))
    for key, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][key]), key


def test_a_run_by_epochs_stops_and_goes_on_within_its_epoch(data, tmp_path):
    def by_epoch(name, **changes):
        cfg = settings(data, tmp_path / name, **changes)
        cfg.train_cfg = {'type': 'EpochBasedTrainLoop', 'max_epochs': 2, 'val_interval': 2}
        cfg.train_dataloader.sampler = {'type': 'DefaultSampler', 'shuffle': True}
        cfg.default_hooks.checkpoint = {'type': 'CheckpointHook', 'interval': 1}
        cfg.param_scheduler.T_max = 4
        return cfg

    run_training(by_epoch('whole'))
    runner = Runner.from_cfg(by_epoch('broken'))
    runner.register_hook(Send(signal.SIGTERM, step=3))
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert end.value.code == 0
    runner.call_hook('after_train')
    assert {path.name for path in (tmp_path / 'broken').glob('*.pth')} == {
        'epoch_1.pth',
        'iter_3.pth',
    }
    run_training(by_epoch('broken', resume=True))
    one, other = (read(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'broken'))
    assert one['meta']['iter'] == other['meta']['iter'] == 4
    for key, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][key]), key


def test_unknown_signals_are_refused():
    with pytest.raises(ValueError, match='SIGNONE'):
        InterruptionHook(signals=['SIGNONE'])
