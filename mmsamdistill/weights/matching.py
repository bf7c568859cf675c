"""Comparing two state dicts by names and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_SHOWN = 10


def require_same_keys(
    given: Mapping[str, Tensor], reference: Mapping[str, Tensor], what: str = 'the model'
) -> None:
    """Require that one state dict fits another completely.

    MMEngine loads with ``strict=False`` and only logs what does not fit, and a half-initialised
    model trains without complaint.

    Args:
        given: The weights at hand.
        reference: The weights that are needed; only names and shapes count.
        what: What needs them, for the message.

    Raises:
        ValueError: If a key is missing or unexpected, or a shape differs; one message lists all
            three kinds with their counts, each by its first ten keys.

    Example:
        >>> import torch
        >>> weights = {'conv.weight': torch.zeros(4, 3)}
        >>> require_same_keys(weights, weights)
        >>> require_same_keys(weights, {'conv.weight': torch.zeros(4, 4)}, 'a 4 channel network')
        Traceback (most recent call last):
        ValueError: the weights do not fit a 4 channel network:
          1 of another shape: conv.weight is (4, 3), needs (4, 4)
    """
    missing = [key for key in reference if key not in given]
    unexpected = [key for key in given if key not in reference]
    reshaped = [
        f'{key} is {tuple(given[key].shape)}, needs {tuple(reference[key].shape)}'
        for key in reference
        if key in given and given[key].shape != reference[key].shape
    ]
    kinds = {'missing': missing, 'unexpected': unexpected, 'of another shape': reshaped}
    lines = [f'  {len(names)} {kind}: {_listed(names)}' for kind, names in kinds.items() if names]
    if lines:
        raise ValueError('\n'.join([f'the weights do not fit {what}:', *lines]))


def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor that holds an infinity or no number, None if there is none."""
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            # An attention mask, which a network keeps as a buffer.
            if bool(((value == 0) | (value == -torch.inf)).all()):
                continue
            return name
    return None


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = [f'and {len(names) - _SHOWN} more'] if len(names) > _SHOWN else []
    return ', '.join([*names[:_SHOWN], *more])
