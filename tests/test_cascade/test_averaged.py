import copy

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from torch import nn
from toy import batch, cascade_model, config, plain_model, random_analyzer, run_training, write_data

import mmsamdistill  # noqa: F401
from mmsamdistill.cascade.averaged import AveragedNetworks

UNGATED = {'type': 'SPDLoss', 'gate': None}


def build(**parts):
    torch.manual_seed(0)
    model = MODELS.build(cascade_model(**parts))
    model.init_weights()
    return model


def step(model, optimiser, seed=0):
    return model.train_step(batch(seed=seed), OptimWrapper(optimiser))


def averaged(model):
    return {k: v.clone() for k, v in model.average.state_dict().items() if k != 'steps'}


def live(model):
    parts = {'spf': model.spf, 'teacher': model.teacher}
    return {
        f'{name}.{key}': value.clone()
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }


@pytest.mark.parametrize('momentum', [0.001, 0.8])
def test_follows_as_a_loop_by_hand_says(momentum):
    model = build(teacher_momentum=momentum)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = live(model)
    for number in range(4):
        step(model, optimiser, seed=number)
        share = max(momentum, 10 / (10 + number))
        for key, value in live(model).items():
            expected[key] = (1 - share) * expected[key] + share * value
    got = averaged(model)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert torch.allclose(got[key], value, atol=1e-6), key
    assert any(not torch.allclose(got[key], value, atol=1e-6) for key, value in live(model).items())
    assert model.average.steps == 4


def test_a_momentum_of_one_is_the_teacher_itself():
    model = build(teacher_momentum=1.0)
    step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert all(torch.equal(value, averaged(model)[key]) for key, value in live(model).items())


def test_begins_at_the_initialised_teacher():
    drawn = {'type': 'Normal', 'layer': 'Conv2d', 'std': 0.1}
    model = MODELS.build(cascade_model(init_cfg=drawn))
    model.average.steps.fill_(3)
    model.init_weights()
    assert all(torch.equal(value, averaged(model)[key]) for key, value in live(model).items())
    assert model.average.steps == 0


def test_gets_no_gradient_and_is_nobodys_parameter():
    model = build(sgr_loss={'type': 'SGRLoss'}, analyzer=random_analyzer(), spd_loss=UNGATED)
    data = model.data_preprocessor(batch(), True)
    model.parse_losses(model(**data, mode='loss'))[0].backward()
    assert not [name for name, _ in model.named_parameters() if name.startswith('average')]
    assert not [v for v in model.average.state_dict(keep_vars=True).values() if v.requires_grad]
    assert {'average.spf.tail.weight', 'average.teacher.generator.last.bias'} <= set(
        model.state_dict()
    )


def test_what_the_student_is_drawn_to_is_the_average():
    model = build(spd_loss=UNGATED)
    before = model(**model.data_preprocessor(batch(), True), mode='loss')
    with torch.no_grad():
        model.teacher.generator.last.bias.add_(0.3)
        model.spf.tail.bias.add_(0.3)
    moved_teacher = model(**model.data_preprocessor(batch(), True), mode='loss')
    assert moved_teacher['loss_spd'] == before['loss_spd']
    assert moved_teacher['psnr_teacher'] == before['psnr_teacher']
    assert moved_teacher['loss_rec_teacher'] != before['loss_rec_teacher']
    model.average.teacher.generator.last.bias.add_(0.3)
    moved_average = model(**model.data_preprocessor(batch(), True), mode='loss')
    assert moved_average['loss_spd'] > before['loss_spd']
    assert moved_average['psnr_teacher'] < before['psnr_teacher']


@torch.no_grad()
def test_the_teacher_that_is_evaluated_is_the_average():
    model = build()
    data = model.data_preprocessor(batch(), False)
    before = evaluated(model, data)
    for part in (model.teacher.generator.last, model.spf.tail):
        part.bias.add_(0.3)
    assert torch.equal(evaluated(model, data), before)
    for part in (model.average.teacher.generator.last, model.average.spf.tail):
        part.bias.add_(0.1)
        now = evaluated(model, data)
        assert not torch.equal(now, before)
        before = now


def evaluated(model, data):
    samples = model.predict_teacher(data['inputs'], data['data_samples'])
    return torch.stack([sample.output.pred_img for sample in samples])


def test_features_are_distilled_from_the_average():
    layers = {'feature_layers': ('generator.first',), 'feature_weight': 1.0}
    model = build(spd_loss={**UNGATED, 'loss_weight': 0.0, **layers})
    data = model.data_preprocessor(batch(), True)
    before = model(**data, mode='loss')['loss_spd']
    model.average.teacher.generator.first.bias.add_(1.0)
    assert model(**data, mode='loss')['loss_spd'] > before


def test_once_for_each_step_of_the_optimiser_under_accumulation():
    model = build()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 6)
    counts = []
    for number in range(6):
        model.train_step(batch(seed=number), wrapper)
        counts.append(int(model.average.steps))
    assert counts == [0, 0, 1, 1, 1, 2]


def test_not_in_a_step_that_mixed_precision_skips():
    model = build()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler('cpu')
    for broken in (True, False):
        data = model.data_preprocessor(batch(), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        scaler.scale(loss).backward()
        if broken:
            next(model.teacher.parameters()).grad.fill_(float('inf'))
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()
        assert model.average.steps == (0 if broken else 1)


def test_other_models_and_optimisers_do_not_count():
    model, other = build(), build()
    copied = copy.deepcopy(model)
    student_alone = torch.optim.SGD(model.restorer.parameters(), lr=0.1)
    step(model, student_alone)
    assert model.average.steps == 0
    step(other, torch.optim.SGD(other.parameters(), lr=0.1))
    assert (model.average.steps, other.average.steps, copied.average.steps) == (0, 1, 0)


def test_a_copy_of_the_model_has_an_average_of_its_own():
    model = build()
    copied, last = copy.deepcopy(model), averaged(model)
    step(copied, torch.optim.SGD(copied.parameters(), lr=0.1))
    for name, value in live(copied).items():  # the first step takes all of the teacher over
        assert torch.equal(averaged(copied)[name], value), name
    assert all(torch.equal(value, last[name]) for name, value in averaged(model).items())
    assert (copied.average.steps, model.average.steps) == (1, 0)


def test_is_always_in_evaluation_mode_and_buffers_follow_too():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    average = AveragedNetworks(0.5, network=network)
    average.train()
    assert not average.network.training
    with torch.no_grad():
        network[0].running_mean.fill_(2.0)
        network[0].num_batches_tracked.fill_(7)
    average.steps.fill_(10)  # a share of one half
    average.update()
    assert torch.equal(average.network[0].running_mean, torch.ones(3))
    assert average.network[0].num_batches_tracked == 7


@pytest.mark.parametrize(
    'parts',
    [
        {'teacher_momentum': None},
        {'stage': 'teacher'},
        {'stage': 'student'},
        {'spd_loss': None},
        {
            'spd_loss': None,
            'sgr_loss': {'type': 'SGRLoss', 'target': 'truth'},
            'analyzer': random_analyzer(),
        },
    ],
)
def test_is_not_there_where_nothing_needs_it(parts):
    model = build(**parts)
    assert model.average is None
    assert not [key for key in model.state_dict() if key.startswith('average')]


@pytest.mark.parametrize('momentum', [0, 1.5, -0.1])
def test_momentum_out_of_range_is_named(momentum):
    with pytest.raises(ValueError, match='teacher_momentum'):
        build(teacher_momentum=momentum)


def test_older_checkpoints_begin_at_their_teacher():
    old = build(teacher_momentum=None)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(0.1)
    model = build()
    model.average.steps.fill_(5)
    model.load_state_dict(old.state_dict())
    assert all(torch.equal(value, averaged(model)[key]) for key, value in live(old).items())
    assert model.average.steps == 0
    # The optimiser's state fits as well: the average is none of its parameters.
    optimiser = torch.optim.AdamW(old.parameters())
    step(old, optimiser)
    torch.optim.AdamW(model.parameters()).load_state_dict(optimiser.state_dict())
    # And the other way round.
    build(teacher_momentum=None).load_state_dict(model.state_dict())


def test_a_plain_checkpoint_initialises_the_average_as_well():
    plain = MODELS.build(plain_model())
    model = build()
    model.load_state_dict(plain.state_dict())
    for key, value in plain.state_dict().items():
        assert torch.equal(model.average.teacher.state_dict()[key], value)


@pytest.mark.slow
def test_a_run_of_an_older_checkpoint_is_resumed(tmp_path):
    data = write_data(tmp_path / 'data')
    run_training(config(data, tmp_path / 'run', cascade_model(teacher_momentum=None)))
    longer = {'type': 'IterBasedTrainLoop', 'max_iters': 6, 'val_interval': 6}
    settings = config(data, tmp_path / 'run', cascade_model(), train_cfg=longer, resume=True)
    runner = run_training(settings)
    assert (runner.iter, int(runner.model.average.steps)) == (6, 2)


@pytest.mark.slow
def test_beside_an_averaged_student_of_the_host(tmp_path):
    from mmengine.runner import Runner

    settings = config(write_data(tmp_path / 'data'), tmp_path / 'run', cascade_model())
    settings.custom_hooks.append({'type': 'EMAHook', 'momentum': 0.5})
    runner = Runner.from_cfg(settings)
    runner.train()
    assert runner.model.average.steps == 4
    hook = next(hook for hook in runner.hooks if isinstance(hook, EMAHook))
    saved = torch.load((tmp_path / 'run' / 'last_checkpoint').read_text(), weights_only=True)
    for key, value in runner.model.average.state_dict().items():
        assert torch.equal(saved['ema_state_dict'][f'module.average.{key}'], value), key
    student = runner.model.restorer.state_dict()
    for key, value in hook.ema_model.module.restorer.state_dict().items():
        assert torch.equal(saved['state_dict'][f'restorer.{key}'], value)
        assert not torch.equal(student[key], value)
