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


def build_average(momentum: float, spf: nn.Module | None, teacher: nn.Module) -> AveragedNetworks:
    """Build the average of SPF and teacher, which shares the one preprocessor."""
    networks = {} if spf is None else {'spf': spf}
    average = AveragedNetworks(momentum, **networks, teacher=teacher)
    average.teacher.data_preprocessor = teacher.data_preprocessor
    return average
