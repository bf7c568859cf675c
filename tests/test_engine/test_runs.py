"""Whole runs of MMEngine's Runner in the toy world."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from toy import (
    ToyNet,
    batch,
    cascade_model,
    config,
    plain_model,
    random_analyzer,
    run_training,
    write_data,
)

from mmsamdistill.engine import RandomStateHook

FULL = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': random_analyzer()}


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / 'data')


def newest(work_dir):
    return torch.load((Path(work_dir) / 'last_checkpoint').read_text().strip(), weights_only=True)


def scalars(work_dir):
    (path,) = Path(work_dir).glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_cascade_trains_validates_and_saves_nothing_frozen(data, tmp_path):
    run_training(config(data, tmp_path / 'run', cascade_model(**FULL)))
    keys = newest(tmp_path / 'run')['state_dict']
    assert {key.split('.')[0] for key in keys} == {'restorer', 'teacher', 'spf', 'average'}
    log = scalars(tmp_path / 'run')
    assert {'loss_rec', 'loss_rec_teacher', 'loss_spd', 'loss_sgr', 'psnr_teacher'} <= set(log[0])
    assert any('PSNR' in entry for entry in log)


class Interrupted(Exception):
    pass


class Interrupt(Hook):
    """Stops a run the hard way, between two checkpoints."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 3:
            raise Interrupted


# A validation draws from the random state as well; with an interval of 2 there is one between the
# checkpoint and the interruption.
@pytest.mark.slow
@pytest.mark.parametrize('val_interval', [2, 4])
@pytest.mark.parametrize('generator', [None, {'type': 'ToyDropoutNet'}], ids=['plain', 'dropout'])
def test_resumed_run_equals_the_uninterrupted_one(data, tmp_path, generator, val_interval):
    regions = {'type': 'ShuffledRegions', 'source': {'type': 'CachedRegions'}}
    model = cascade_model(plain_model(generator), **FULL, regions=regions, spd_warmup=(0, 4))
    loop = {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': val_interval}
    run_training(config(data, tmp_path / 'whole', model, train_cfg=loop))

    settings = config(data, tmp_path / 'broken', model, train_cfg=loop)
    runner = Runner.from_cfg(settings)
    runner.register_hook(Interrupt(), priority='LOWEST')
    with pytest.raises(Interrupted):
        runner.train()
    run_training(config(data, tmp_path / 'broken', model, train_cfg=loop, resume=True))

    whole, resumed = newest(tmp_path / 'whole'), newest(tmp_path / 'broken')
    assert whole['meta']['iter'] == resumed['meta']['iter'] == 4
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][key]), key
    for key, state in whole['optimizer']['state'].items():
        assert torch.equal(state['exp_avg'], resumed['optimizer']['state'][key]['exp_avg'])


@pytest.mark.slow
def test_random_state_hook_is_what_makes_dropout_resume(data, tmp_path):
    # The test above must not pass by luck. Without workers the loaded batch seeds torch as well.
    def settings(name, **changes):
        model = cascade_model(plain_model({'type': 'ToyDropoutNet'}))
        cfg = config(data, tmp_path / name, model, custom_hooks=[], **changes)
        cfg.train_dataloader.num_workers = 1
        return cfg

    run_training(settings('whole'))
    runner = Runner.from_cfg(settings('broken'))
    runner.register_hook(Interrupt(), priority='LOWEST')
    with pytest.raises(Interrupted):
        runner.train()
    run_training(settings('broken', resume=True))
    whole, resumed = newest(tmp_path / 'whole'), newest(tmp_path / 'broken')
    assert any(not torch.equal(v, resumed['state_dict'][k]) for k, v in whole['state_dict'].items())


@pytest.mark.slow
def test_of_two_runners_the_one_that_trains_is_asked(data, tmp_path):
    """However many were made before it trains, as in a notebook."""
    settings = [config(data, tmp_path / name, cascade_model(teacher_interval=2)) for name in 'ab']
    for each in settings:
        each.optim_wrapper.clip_grad = {'max_norm': 1}
    runners = [Runner.from_cfg(each) for each in settings]
    for runner in runners:
        runner.train()
        log = runner.message_hub.log_scalars
        lengths = [len(log[f'train/{name}']._log_history) for name in ('loss_spd', 'grad_norm')]
        assert lengths == [2, 4]
    # By hand, after a last iteration in which the teacher rested, it teaches.
    by_hand = runner.model
    assert 'loss_spd' in by_hand(**by_hand.data_preprocessor(batch(), True), mode='loss')


def test_random_state_differs_between_processes_iterations_and_seeds(monkeypatch):
    def draw(seed=0, rank=0, iteration=0):
        monkeypatch.setattr('mmsamdistill.engine.batches.get_rank', lambda: rank)
        runner = SimpleNamespace(seed=seed, iter=iteration)
        RandomStateHook().before_train_iter(runner, 0)
        return torch.rand(()).item()

    assert draw() == draw()
    others = draw(seed=1), draw(rank=1), draw(iteration=1), draw(rank=1, iteration=1)
    assert len({draw(), *others}) == 5


def test_random_state_of_the_gpu_in_use(monkeypatch):
    runner, seeds = SimpleNamespace(seed=0, iter=7), []
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.cuda, 'manual_seed', seeds.append)
    for iteration in (7, 7, 8):
        runner.iter = iteration
        RandomStateHook().before_train_iter(runner, 0)
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.slow
@pytest.mark.parametrize('content', ['params', 'bare'])
def test_averaging_starts_from_weights_without_a_state_dict(data, tmp_path, content):
    weights = ToyNet().state_dict()
    torch.save({'params': weights} if content == 'params' else weights, tmp_path / 'official.pth')
    settings = config(
        data,
        tmp_path / 'run',
        cascade_model(),
        custom_hooks=[{'type': 'EMAHook', 'momentum': 1e-8}],
        load_from=str(tmp_path / 'official.pth'),
    )
    run_training(settings)
    # With such a momentum the average stays where the first of Adam's steps of 1e-3 led; the hook
    # saves it as the weights.
    averaged = newest(tmp_path / 'run')['state_dict']
    for key, value in weights.items():
        assert torch.allclose(averaged[f'restorer.generator.{key}'], value, atol=1.1e-3), key


@pytest.mark.slow
def test_load_from_plain_run_and_go_on_in_two_stages(data, tmp_path):
    run_training(config(data, tmp_path / 'plain', plain_model()))
    plain = newest(tmp_path / 'plain')['state_dict']

    path = (tmp_path / 'plain/last_checkpoint').read_text().strip()
    run_training(config(data, tmp_path / 'one', cascade_model(stage='teacher'), load_from=path))
    first = newest(tmp_path / 'one')['state_dict']
    for key, value in plain.items():
        assert torch.equal(first[f'restorer.{key}'], value)
    assert any(not torch.equal(first[f'teacher.{key}'], value) for key, value in plain.items())

    path = (tmp_path / 'one/last_checkpoint').read_text().strip()
    run_training(config(data, tmp_path / 'two', cascade_model(stage='student'), load_from=path))
    second = newest(tmp_path / 'two')['state_dict']
    for key, value in first.items():
        if key.startswith(('teacher.', 'spf.')):
            assert torch.equal(second[key], value)
    assert any(not torch.equal(second[f'restorer.{key}'], value) for key, value in plain.items())


@pytest.mark.slow
def test_teacher_is_evaluated_beside_the_student(data, tmp_path):
    hooks = [{'type': 'TeacherEvaluationHook'}]
    # An online source, since the toy validation data bring no regions.
    model = cascade_model(regions={'type': 'SuperpixelRegions'})
    runner = run_training(config(data, tmp_path / 'run', model, custom_hooks=hooks))
    (entry,) = [entry for entry in scalars(tmp_path / 'run') if 'PSNR' in entry]
    squares = []
    runner.model.eval()
    for raw in runner.val_dataloader:
        processed = runner.model.data_preprocessor(raw, False)
        truth = processed['data_samples'].gt_img.clone()
        with torch.no_grad():
            (prediction,) = runner.model.predict_teacher(**processed)
        squares.append((prediction.output.pred_img - truth[0]).square().mean())
    expected = torch.stack([10 * torch.log10(255**2 / square) for square in squares]).mean()
    assert entry['teacher/PSNR'] == pytest.approx(expected.item(), abs=1e-3)
    assert entry['teacher/PSNR'] != entry['PSNR']


@pytest.mark.slow
def test_teacher_is_measured_by_the_protocol_of_the_student(data, tmp_path):
    # An identical teacher has identical scores, which two protocols would not give.
    metric = {'type': 'RestorationMetric', 'protocol': 'rain_y_matlab'}
    model = cascade_model(regions={'type': 'NoRegions'}, spf=None, spd_loss=None)
    settings = config(data, tmp_path / 'run', model, val_evaluator=[metric])
    settings.custom_hooks = [{'type': 'TeacherEvaluationHook'}]
    runner = Runner.from_cfg(settings)
    for network in (runner.model.restorer, runner.model.teacher):
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)  # the toy network is then the identity
    runner._has_loaded = True
    runner.val()
    (entry,) = [entry for entry in scalars(tmp_path / 'run') if 'PSNR' in entry]
    assert entry['teacher/PSNR'] == pytest.approx(entry['PSNR'])
    assert entry['teacher/SSIM'] == pytest.approx(entry['SSIM'])


@pytest.mark.slow
def test_teacher_evaluation_needs_a_teacher(data, tmp_path):
    hooks = [{'type': 'TeacherEvaluationHook'}]
    with pytest.raises(TypeError, match='custom_hooks'):
        run_training(config(data, tmp_path / 'run', plain_model(), custom_hooks=hooks))
