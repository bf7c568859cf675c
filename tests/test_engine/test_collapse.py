"""A collapse is found, told and, if wanted, the end."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from toy import config, plain_model, write_data

from mmsamdistill.engine import CollapseHook


class Spoil(Hook):
    """Makes the network worthless after some iterations."""

    def __init__(self, iteration, value):
        self.iteration = iteration
        self.value = value

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            torch.nn.init.constant_(runner.model.generator.last.bias, self.value)


def train(tmp_path, spoil=None, resume=False, max_iters=4, then=None, **arguments):
    data = tmp_path / 'data'
    if not data.exists():
        write_data(data)
    hooks = [{'type': 'CollapseHook', 'interval': 1, **arguments}]
    settings = config(data, tmp_path / 'run', plain_model(), custom_hooks=hooks, resume=resume)
    settings.train_cfg.update(max_iters=max_iters, val_interval=2)
    runner = Runner.from_cfg(settings)
    if spoil is not None:
        # Before the checkpoint is written and the validation is run.
        runner.register_hook(spoil, priority='HIGHEST')
    runner.train()
    if then is not None:
        then(runner)
    return runner.message_hub.get_info('collapse')


@pytest.mark.slow
def test_a_sound_run_has_no_finding(tmp_path):
    assert train(tmp_path) is None


@pytest.mark.slow
def test_a_fall_of_the_metric_is_found(tmp_path):
    assert train(tmp_path, Spoil(4, 0.5)).startswith('iteration 4: PSNR ')


@pytest.mark.slow
def test_a_finding_outlives_the_test_after_the_training(tmp_path):
    assert train(tmp_path, Spoil(4, 0.5), then=Runner.test).startswith('iteration 4: PSNR ')


@pytest.mark.slow
def test_a_smaller_fall_than_allowed_is_not(tmp_path):
    assert train(tmp_path, Spoil(4, 0.5), max_drop=40.0) is None


def test_a_slow_fall_is_measured_from_the_best():
    runner = SimpleNamespace(iter=0, message_hub=MessageHub('slow'), logger=MMLogger('slow'))
    hook = CollapseHook(max_drop=1.0)
    hook.before_train(runner)
    for value in (29.0, 30.0, 29.5, 29.1):
        hook.after_val_epoch(runner, {'PSNR': value})
    assert runner.message_hub.get_info('collapse') is None
    hook.after_val_epoch(runner, {'PSNR': 28.9})
    assert runner.message_hub.get_info('collapse').endswith('PSNR 28.90 after 30.00')


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_found_where_it_starts(tmp_path):
    assert train(tmp_path, Spoil(1, math.nan)).startswith('iteration 2: loss not finite; files: ')


@pytest.mark.slow
def test_a_validation_that_is_no_number_is_found(tmp_path):
    assert train(tmp_path, Spoil(2, math.nan)).startswith('iteration 2: PSNR nan')


@pytest.mark.slow
def test_runs_of_one_name_do_not_share_a_finding(tmp_path, monkeypatch):
    # Runs are named by the second of their start.
    monkeypatch.setattr('time.strftime', lambda *_: '20200101_000000')
    monkeypatch.setattr('quick.numbers', itertools.repeat(0))
    assert train(tmp_path, Spoil(4, 0.5)) is not None
    assert train(tmp_path) is None


@pytest.mark.slow
def test_stop_ends_the_run_and_says_what_to_do(tmp_path):
    with pytest.raises(RuntimeError, match=r'iteration 4: .* lower the learning rate'):
        train(tmp_path, Spoil(4, 0.5), stop=True)


@pytest.mark.slow
def test_the_best_value_is_remembered_by_a_resumed_run(tmp_path):
    train(tmp_path)
    finding = train(tmp_path, Spoil(5, 0.5), resume=True, max_iters=6)
    assert finding.startswith('iteration 6: PSNR ')


@pytest.mark.parametrize('arguments', [{'max_drop': 0}, {'interval': 0}])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r'above 0|at least 1'):
        CollapseHook(**arguments)
