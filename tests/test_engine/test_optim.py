import contextlib
import copy

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from toy import batch, cascade_model, plain_model

import mmsamdistill  # noqa: F401

SGD = {'type': 'SGD', 'lr': 1.0}


def step(model, **options):
    config = {
        'type': 'OptimWrapper',
        'optimizer': SGD,
        'constructor': 'CascadeOptimWrapperConstructor',
        **options,
    }
    before = copy.deepcopy(model.state_dict())
    model.train_step(batch(), build_optim_wrapper(model, config))
    change = {key: value - before[key] for key, value in model.state_dict().items()}
    return {
        part: torch.cat([v.flatten() for k, v in change.items() if k.startswith(names)])
        .norm()
        .item()
        for part, names in (('student', 'restorer.'), ('teacher', ('teacher.', 'spf.')))
    }


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MODELS.build(cascade_model(spd_loss=None))


def test_both_sides_are_clipped_by_their_own_norm(model):
    moved = step(model, clip_grad={'max_norm': 0.01})
    assert moved['student'] == pytest.approx(0.01, rel=1e-3)
    assert moved['teacher'] == pytest.approx(0.01, rel=1e-3)


def test_teacher_clip_may_differ(model):
    moved = step(model, clip_grad={'max_norm': 0.01}, teacher_clip_grad={'max_norm': 0.02})
    assert moved['student'] == pytest.approx(0.01, rel=1e-3)
    assert moved['teacher'] == pytest.approx(0.02, rel=1e-3)


def test_each_side_may_go_unclipped(model):
    free = step(copy.deepcopy(model), clip_grad=None)
    assert min(free.values()) > 0.05
    only_student = step(copy.deepcopy(model), clip_grad={'max_norm': 0.01}, teacher_clip_grad=None)
    assert only_student['student'] == pytest.approx(0.01, rel=1e-3)
    assert only_student['teacher'] == pytest.approx(free['teacher'], rel=1e-4)
    only_teacher = step(copy.deepcopy(model), teacher_clip_grad={'max_norm': 0.01})
    assert only_teacher['student'] == pytest.approx(free['student'], rel=1e-4)
    assert only_teacher['teacher'] == pytest.approx(0.01, rel=1e-3)


def test_clip_by_value(model):
    torch.manual_seed(0)
    before = copy.deepcopy(model.state_dict())
    step(model, clip_grad={'type': 'value', 'clip_value': 1e-3})
    change = [(v - before[k]).abs().max() for k, v in model.state_dict().items()]
    assert max(change) == pytest.approx(1e-3, rel=1e-2)


def test_student_is_clipped_exactly_as_the_plain_recipe_clips_it(model):
    plain = MODELS.build(plain_model())
    plain.load_state_dict(model.restorer.state_dict())
    config = {'type': 'OptimWrapper', 'optimizer': SGD, 'clip_grad': {'max_norm': 0.01}}
    plain.train_step(batch(regions=False), build_optim_wrapper(plain, config))
    step(model, clip_grad={'max_norm': 0.01})
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[f'restorer.{key}'], value), key


def test_unknown_clip_and_plain_model_are_named(model):
    with pytest.raises(ValueError, match='clip_grad type'):
        step(model, clip_grad={'max_norm': 1.0}, teacher_clip_grad={'type': 'sign'})
    with pytest.raises(ValueError, match='no cascade'):
        step(MODELS.build(plain_model()), clip_grad={'max_norm': 1.0})


@pytest.mark.parametrize(
    ('interval', 'stage', 'search', 'refused'),
    [
        (2, 'joint', False, True),
        (2, 'joint', True, False),
        (1, 'joint', False, False),
        (2, 'student', False, False),
        (2, 'teacher', False, False),
    ],
)
def test_a_teacher_that_rests_wants_ddp_to_look_for_it(interval, stage, search, refused):
    # Without processes: what the constructor asks of the wrapper.
    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    torch.nn.Module.__init__(wrapper)
    wrapper.module = MODELS.build(cascade_model(teacher_interval=interval, stage=stage))
    wrapper.find_unused_parameters = search
    config = {'optimizer': SGD, 'constructor': 'CascadeOptimWrapperConstructor'}
    expected = pytest.raises(ValueError, match=r'find_unused_parameters=True.*model_wrapper_cfg')
    with expected if refused else contextlib.nullcontext():
        build_optim_wrapper(wrapper, config)
