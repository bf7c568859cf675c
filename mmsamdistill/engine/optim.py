"""Gradient clipping that keeps the student's recipe intact."""

import copy
from collections.abc import Callable

from mmagic.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import Tensor, nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class CascadeOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Clip the gradients of the student and of its teacher apart.

    A published recipe's ``clip_grad`` was tuned for one network. Clipping a cascade by its joint
    norm would let the teacher's gradient shorten the student's steps; clipped apart, the student
    is trained as its recipe says. Use it by ``optim_wrapper=dict(constructor=
    'CascadeOptimWrapperConstructor')``; it works with every optimiser wrapper, AMP included.

    Args:
        optim_wrapper_cfg: MMEngine's config of the optimiser wrapper. Its ``clip_grad`` applies to
            the student and, unless the additional key ``teacher_clip_grad`` says otherwise, by
            itself to teacher and SPF together. ``teacher_clip_grad=None`` leaves these unclipped.
        paramwise_cfg: MMEngine's parameter-wise options.

    Raises:
        ValueError: When called with a model that is not a cascade (has no ``restorer``), or with
            one whose teacher rests in some steps while DDP waits for all gradients in each.

    Source: the clip itself is torch's.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        config = copy.deepcopy(dict(optim_wrapper_cfg))
        self.student_clip = config.pop('clip_grad', None)
        self.teacher_clip = config.pop('teacher_clip_grad', self.student_clip)
        # The wrapper itself must know of a clip, since it unscales AMP gradients only then. A copy:
        # MMEngine takes it apart in place.
        config['clip_grad'] = copy.deepcopy(self.student_clip or self.teacher_clip)
        super().__init__(config, paramwise_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser wrapper of ``model``, a cascade."""
        wrapper = super().__call__(model)
        cascade = model.module if is_model_wrapper(model) else model
        if not hasattr(cascade, 'restorer'):
            raise ValueError(
                f'CascadeOptimWrapperConstructor clips student and teacher apart, but '
                f'{type(cascade).__name__} is no cascade; remove `constructor` from optim_wrapper'
            )
        _check_search(model, cascade)
        student = list(cascade.restorer.parameters())
        mine = {id(parameter) for parameter in student}
        others = [p for p in cascade.parameters() if id(p) not in mine]
        clips = [
            (_clipper(self.student_clip), student, 'grad_norm'),
            (_clipper(self.teacher_clip), others, 'grad_norm_teacher'),
        ]
        wrapper._clip_grad = lambda: _clip_each(wrapper, clips)
        return wrapper


def _check_search(model: nn.Module, cascade: nn.Module) -> None:
    rests = getattr(cascade, 'teacher_interval', 1) > 1 and cascade.stage == 'joint'
    if rests and not getattr(model, 'find_unused_parameters', True):
        raise ValueError(
            f'with teacher_interval={cascade.teacher_interval} the teacher has no gradient in some '
            'steps, which DDP would wait for: add find_unused_parameters=True to the config '
            '(where it has a model_wrapper_cfg, to that), or take teacher_interval=1'
        )


Clip = tuple[Callable | None, list[nn.Parameter], str]


def _clipper(config: dict | None) -> Callable[[list[nn.Parameter]], Tensor | None] | None:
    if not config:
        return None
    options = dict(config)
    kind = options.pop('type', 'norm')
    clip = {'norm': nn.utils.clip_grad_norm_, 'value': nn.utils.clip_grad_value_}.get(kind)
    if clip is None:
        raise ValueError(f"clip_grad type {kind!r} is not one of 'norm', 'value'")
    return lambda parameters: clip(parameters, **options)


def _clip_each(wrapper: OptimWrapper, clips: list[Clip]) -> None:
    for clip, parameters, name in clips:
        with_gradient = [p for p in parameters if p.grad is not None]
        if clip is None or not with_gradient:
            continue
        norm = clip(with_gradient)
        if norm is not None:  # clipping by value returns nothing
            wrapper.message_hub.update_scalar(f'train/{name}', float(norm))
