"""Building the parts of a cascade from their configs."""

from __future__ import annotations

import copy

from mmagic.registry import MODELS
from mmengine.config import Config
from torch import nn

from mmsamdistill.cascade.averaged import AveragedNetworks


def build_part(config: dict | nn.Module | None) -> nn.Module | None:
    """Build a part from its config; a module or None is taken as it is."""
    return MODELS.build(config) if isinstance(config, dict) else config


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


def need_a_target(spd_loss: nn.Module | None, sgr_loss: nn.Module | None) -> bool:
    """Tell whether a loss draws to the teacher; relations of the truth do without."""
    return spd_loss is not None or (
        sgr_loss is not None and getattr(sgr_loss, 'target', 'teacher') == 'teacher'
    )


def build_average(
    momentum: float | None, spf: nn.Module | None, teacher: nn.Module
) -> AveragedNetworks | None:
    """Build the average of SPF and teacher, which shares the one preprocessor."""
    if momentum is None:
        return None
    networks = {} if spf is None else {'spf': spf}
    average = AveragedNetworks(momentum, **networks, teacher=teacher)
    average.teacher.data_preprocessor = teacher.data_preprocessor
    return average
