"""Building the parts of a cascade from their configs."""

from __future__ import annotations

import copy

from mmagic.registry import MODELS
from mmengine.config import Config
from torch import nn


def build_part(config: dict | nn.Module | None) -> nn.Module | None:
    """Build a part from its config; a module or None is taken as it is.

    Args:
        config: A config with ``type``, a module, or None.

    Returns:
        The part.

    Source: ours.
    """
    return MODELS.build(config) if isinstance(config, dict) else config


def build_teacher(restorer: dict, changes: dict | None, data_preprocessor: nn.Module) -> nn.Module:
    """Build the second restorer of the cascade.

    Args:
        restorer: Config of the plain model.
        changes: What differs for the teacher, merged as an inheriting config would be.
        data_preprocessor: The student's own, which serves both.

    Returns:
        A model of the student's class without a criterion of its own: the student's judges both,
        and a second one would only weigh down every checkpoint.

    Source: ours.
    """
    config = Config(copy.deepcopy(dict(restorer)))
    config.merge_from_dict(changes or {})
    teacher = MODELS.build(config.to_dict())
    teacher.data_preprocessor = data_preprocessor
    teacher.pixel_loss = None
    return teacher
