"""Weights of a plain restorer as the starting point of a cascade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmsamdistill.weights import adopt_plain_state_dict, require_same_keys


def cascade_state_dict(
    given: Mapping[str, Any], cascade: Mapping[str, Tensor], plain: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Complete a checkpoint, the cascade's own or a plain restorer's in any dialect.

    The plain weights initialise the student and, where the architectures agree, the teacher; SPF
    keeps its initialisation. A partial match is an error: MMEngine loads with ``strict=False``, and
    a half-initialised model trains without complaint.

    Args:
        given: What was read.
        cascade: The cascade's present state.
        plain: The plain restorer's present state; its keys and shapes are what counts.

    Returns:
        A state for the whole cascade.

    Raises:
        ValueError: If keys or shapes do not match; the message lists them.

    Source: ours.
    """
    if any(key.startswith('restorer.') for key in given):
        require_same_keys(given, cascade, 'the cascade')
        return dict(given)
    weights = adopt_plain_state_dict(given, plain)
    complete = {**cascade, **{f'restorer.{key}': value for key, value in weights.items()}}
    teacher = {f'teacher.{key}': value for key, value in weights.items()}
    if all(key in cascade and cascade[key].shape == value.shape for key, value in teacher.items()):
        complete.update(teacher)
    return complete
