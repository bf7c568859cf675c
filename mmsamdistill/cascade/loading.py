"""Weights of a plain restorer, or of an older cascade, as the starting point of a cascade."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from mmsamdistill.weights import adopt_plain_state_dict, require_same_keys

AVERAGE = 'average.'


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
