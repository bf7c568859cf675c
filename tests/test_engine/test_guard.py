"""Steps that are no numbers: skipped, named, counted, and the end of a run if they go on."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from toy import config, plain_model, write_data

from mmsamdistill.engine import FiniteHook, TrainingDivergedError
from mmsamdistill.weights.dialects import first_not_finite

pytestmark = pytest.mark.slow  # whole runs


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / 'data')


class Spoil(Hook):
    """Makes the inputs of some steps NaN."""

    def __init__(self, steps):
        self.steps = steps

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter in self.steps:
            data_batch['inputs'] = [image * float('nan') for image in data_batch['inputs']]


def guarded(data, work_dir, steps, limit=10, total=100, **changes):
    runner = Runner.from_cfg(config(data, work_dir, plain_model(), **changes))
    hook = FiniteHook(limit, total)
    runner.register_hook(hook)
    runner.register_hook(Spoil(steps))
    return runner, hook


@pytest.mark.slow
@pytest.mark.parametrize('counts', [1, 2])
def test_a_bad_step_is_skipped_and_named(data, tmp_path, counts):
    wrapper = {
        'type': 'OptimWrapper',
        'optimizer': {'type': 'AdamW', 'lr': 1e-3},
        'accumulative_counts': counts,
    }
    runner, hook = guarded(data, tmp_path / 'run', {0}, optim_wrapper=wrapper)
    start = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    assert hook.skipped == 1
    finding = runner.message_hub.get_info('first_not_finite')
    assert finding.startswith(f'iteration {counts}: loss')
    assert '/img/' in finding
    assert first_not_finite(runner.model.state_dict()) is None
    assert any(not torch.equal(v, start[k]) for k, v in runner.model.state_dict().items())


@pytest.mark.slow
def test_too_many_stop_the_run_and_name_the_last_good_checkpoint(data, tmp_path):
    runner, hook = guarded(data, tmp_path / 'run', {2, 3}, limit=2)
    with pytest.raises(TrainingDivergedError, match=r'2 steps in a row[\s\S]*iter_2\.pth'):
        runner.train()
    assert hook.skipped == 2
    assert not (tmp_path / 'run/iter_4.pth').exists()


@pytest.mark.slow
def test_bad_steps_apart_from_each_other_do_not_stop_it(data, tmp_path):
    runner, hook = guarded(data, tmp_path / 'run', {0, 2}, limit=2)
    runner.train()
    assert hook.skipped == 2
    runner, hook = guarded(data, tmp_path / 'other', {0, 2}, total=2)
    with pytest.raises(TrainingDivergedError, match='2 steps in all'):
        runner.train()


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_not_saved(data, tmp_path):
    class Poison(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            with torch.no_grad():
                runner.model.generator.last.bias[0] = float('inf')

    runner, _ = guarded(data, tmp_path / 'run', set())
    runner.register_hook(Poison())
    with pytest.raises(TrainingDivergedError, match=r'generator\.last\.bias is not finite'):
        runner.train()
    assert not list((tmp_path / 'run').glob('*.pth'))


@pytest.mark.slow
def test_gradients_behind_a_finite_loss_are_seen(data, tmp_path):
    runner, hook = guarded(data, tmp_path / 'run', set())
    spoil = lambda gradient: gradient * float('nan')  # noqa: E731
    runner.model.generator.first.bias.register_hook(spoil)
    runner.train()
    assert hook.skipped == 4
    assert 'gradient of generator.first.bias' in runner.message_hub.get_info('first_not_finite')


def test_limit_is_checked():
    with pytest.raises(ValueError, match='at least 1'):
        FiniteHook(0)
    with pytest.raises(ValueError, match='at least 1'):
        FiniteHook(total=0)


def test_gradients_that_overflow_together_alone_are_named(data, tmp_path):
    runner, hook = guarded(data, tmp_path / 'run', set())
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    hook.before_train(runner)
    parameters = list(runner.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
        parameter.grad.view(-1)[0] = 3e38  # each is a number, their sum is none
    before = [parameter.clone() for parameter in parameters]
    runner.optim_wrapper.step()
    assert all(map(torch.equal, parameters, before))
    assert hook._bad.startswith('the gradient of generator.')


def test_beside_a_loss_scaler_which_skips_the_step_itself_the_loss_tells(tmp_path):
    runner = SimpleNamespace(
        iter=3,
        work_dir=tmp_path,
        model=torch.nn.Linear(1, 1),
        optim_wrapper=SimpleNamespace(loss_scaler=None),
        message_hub=MessageHub('scaled'),
        logger=MMLogger('scaled'),
    )
    hook = FiniteHook(limit=2)
    hook.before_train(runner)
    for value in (float('nan'), 1.0, float('nan')):
        hook.after_train_iter(runner, 0, None, {'loss': torch.tensor(value)})
    assert hook.skipped == 2
    with pytest.raises(TrainingDivergedError, match='2 steps in a row'):
        hook.after_train_iter(runner, 0, None, {'loss': torch.tensor(float('inf'))})


def test_a_mask_of_minus_infinities_is_no_broken_weight():
    mask = torch.tensor([0.0, -torch.inf])
    assert first_not_finite({'mask': mask}) is None
    assert first_not_finite({'mask': mask, 'w': torch.tensor([1.0, -torch.inf])}) == 'w'
    assert first_not_finite({'w': torch.tensor([0.0, torch.nan])}) == 'w'
