"""Building the parts of a cascade from their configs, and what it refuses."""

import copy
import logging
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn

from mmsamdistill.arguments import check_choice, check_flag, check_number
from mmsamdistill.cascade.averaged import AveragedNetworks
from mmsamdistill.weights import adopt_plain_state_dict, require_same_keys

STAGES = ('joint', 'teacher', 'student')
TEACHER_INPUTS = ('restored', 'degraded')
WHOLE_MODEL = (
    "dict(type='BaseEditModel', generator=..., pixel_loss=..., data_preprocessor=...), as "
    '{{_base_.model}} gives it'
)
AVERAGE = 'average.'


def build_part(
    config: dict | nn.Module | None, default: dict[str, Any] | None = None
) -> nn.Module | None:
    """Build a part from its config, which may leave out the type if there is a default."""
    return MODELS.build({**(default or {}), **config}) if isinstance(config, dict) else config


def build_regions(config: dict | nn.Module | None, interval: int) -> nn.Module | None:
    """Build a source of regions; one that takes turns is told how often it is asked."""
    regions = build_part(config)
    for part in () if regions is None else regions.modules():
        if hasattr(part, 'asked_every'):
            part.asked_every = interval
    return regions


def build_student(restorer: dict) -> nn.Module:
    """Build the plain model; refused are a module, and a config of a bare network."""
    # The teacher is built from the config as well.
    if isinstance(restorer, nn.Module) or not hasattr(restorer, 'keys'):
        raise TypeError(
            f'restorer is a {type(restorer).__name__}; give the config of a whole plain model: '
            f'{WHOLE_MODEL}'
        )
    student = MODELS.build(restorer)
    # Losses and the range of the images belong to the model around a network.
    wanted = ('data_preprocessor', 'pixel_loss', 'forward_tensor')
    missing = [name for name in wanted if not hasattr(student, name)]
    if missing:
        raise TypeError(
            f'restorer builds a {type(student).__name__}, which has no {", ".join(missing)}: a '
            f'bare network. Put its config into the whole model as `generator`: {WHOLE_MODEL}'
        )
    return student


def build_teacher(restorer: dict, changes: dict | None, data_preprocessor: nn.Module) -> nn.Module:
    """Build the second restorer: the student's config with changes, merged as in inheritance.

    It has no criterion of its own: the student's judges both, and a second one would only weigh
    down every checkpoint.
    """
    config = Config(copy.deepcopy(dict(restorer)))
    config.merge_from_dict(changes or {})
    teacher = MODELS.build(config.to_dict())
    teacher.data_preprocessor = data_preprocessor
    teacher.pixel_loss = None
    return teacher


def build_average(cascade: nn.Module, momentum: float | None) -> AveragedNetworks | None:
    """Build the average of a cascade's SPF and teacher, if something is drawn to their images.

    It shares the one preprocessor. Relations of the truth do without.
    """
    drawn = cascade.spd_loss is not None or (
        cascade.sgr_loss is not None and getattr(cascade.sgr_loss, 'target', 'teacher') == 'teacher'
    )
    if momentum is None or cascade.stage != 'joint' or not drawn:
        return None
    networks = {} if cascade.spf is None else {'spf': cascade.spf}
    average = AveragedNetworks(momentum, **networks, teacher=cascade.teacher)
    average.teacher.data_preprocessor = cascade.teacher.data_preprocessor
    return average


def check_options(
    stage: str,
    teacher_input: str,
    teacher_momentum: float | None,
    teacher_interval: int,
    detach_cascade: bool,
) -> None:
    """Refuse options that are out of range."""
    check_choice(STAGES, stage=stage)
    check_choice(TEACHER_INPUTS, teacher_input=teacher_input)
    check_number(1, whole=True, teacher_interval=teacher_interval)
    check_flag(detach_cascade=detach_cascade)
    if teacher_momentum is None:
        return
    is_number = isinstance(teacher_momentum, Real) and not isinstance(teacher_momentum, bool)
    if not is_number or not 0 < teacher_momentum <= 1:
        raise ValueError(f'teacher_momentum={teacher_momentum} must be None or in (0, 1]')


def check_warmup(name: str, warmup: Sequence[int]) -> tuple[int, int]:
    """Return a warm-up as a pair (a, b), or say what is wrong with it."""
    given = list(warmup) if isinstance(warmup, Sequence) else []
    numbers = [each for each in given if isinstance(each, Real)]
    if len(given) != 2 or numbers != given or not 0 <= given[0] <= given[1]:
        raise ValueError(f'{name}={warmup} must be two iterations (a, b) with 0 <= a <= b')
    begin, end = warmup
    return begin, end


def check_same_size(inputs: Tensor, restored: Tensor, truth: Tensor) -> None:
    """Refuse a restorer that changes the size of its input."""
    if not inputs.shape == restored.shape == truth.shape:
        raise ValueError(
            f'input {tuple(inputs.shape)}, restored {tuple(restored.shape)} and truth '
            f'{tuple(truth.shape)} differ in shape: SAMDistillRestorer trains restorers that map '
            'an image to one of the same size; super-resolution and the like are not supported'
        )


def cascade_state_dict(
    given: Mapping[str, Any], cascade: Mapping[str, Tensor], plain: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Complete a checkpoint, the cascade's own or a plain restorer's in any dialect.

    The plain weights initialise the student and, where the architectures agree, the teacher; SPF
    keeps its initialisation. A partial match is an error: MMEngine loads with ``strict=False``, and
    a half-initialised model trains without complaint.
    """
    if any(key.startswith('restorer.') for key in given):
        complete = _with_average(given, cascade)
        require_same_keys(complete, cascade, 'the cascade')
        return complete
    weights = adopt_plain_state_dict(given, plain)
    complete = {**cascade, **{f'restorer.{key}': value for key, value in weights.items()}}
    teacher = {f'teacher.{key}': value for key, value in weights.items()}
    if all(key in cascade and cascade[key].shape == value.shape for key, value in teacher.items()):
        complete.update(teacher)
    return {**complete, **_average_of(complete, cascade)}


def _with_average(given: Mapping[str, Any], cascade: Mapping[str, Tensor]) -> dict[str, Any]:
    """Begin an average that the checkpoint lacks at its teacher; leave out one without use."""
    wanted, there = (any(key.startswith(AVERAGE) for key in each) for each in (cascade, given))
    if wanted == there:
        return dict(given)
    given = {key: value for key, value in given.items() if not key.startswith(AVERAGE)}
    if there:
        _say('the checkpoint has an average of the teacher, which this model has no use for')
        return given
    _say(
        'the checkpoint has no average of the teacher (it is older, or was trained with '
        'teacher_momentum=None): the average begins at its teacher as it is'
    )
    return {**given, **_average_of(given, cascade)}


def _average_of(state: Mapping[str, Any], cascade: Mapping[str, Tensor]) -> dict[str, Any]:
    keys = [key for key in cascade if key.startswith(AVERAGE)]
    # What is not there, the number of steps among it, is as in a new average.
    return {key: state.get(key.removeprefix(AVERAGE), cascade[key] * 0) for key in keys}


def _say(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
