"""Loading weights into a plain restorer, all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmsamdistill.weights.dialects import find_state_dict, to_plain_state_dict
from mmsamdistill.weights.reading import CheckpointError, read_checkpoint


def adopt_plain_state_dict(
    state_dict: Mapping[str, Any], reference: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Turn whatever was read from a checkpoint into exactly a plain restorer's state dict.

    MMEngine knows one dialect: of a checkpoint without ``state_dict`` it hands over everything. So
    this accepts a whole checkpoint as well as the weights alone.

    Args:
        state_dict: A checkpoint or a state dict in any dialect; averaged weights are preferred.
        reference: State dict of the plain restorer.

    Returns:
        The weights with the keys of ``reference``, in its order.

    Raises:
        ValueError: If they do not match completely; the message lists where.

    Example:
        >>> import torch
        >>> reference = {'generator.bias': torch.zeros(1)}
        >>> adopt_plain_state_dict({'params': {'bias': torch.ones(1)}}, reference)
        {'generator.bias': tensor([1.])}
    """
    return to_plain_state_dict(find_state_dict(state_dict), reference)


def read_weights(path: str | Path, ema: bool = True) -> dict[str, Tensor]:
    """Read the weights of a file in any dialect: what all networks here are loaded from.

    Args:
        path: See :func:`read_checkpoint`.
        ema: Take averaged weights if there are any; else the raw ones.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be read, or holds no weights; the message names it.
    """
    checkpoint = read_checkpoint(path)
    try:
        return find_state_dict(checkpoint, ema)
    except ValueError as error:
        raise CheckpointError(f'{path}: {error}') from error


def load_plain(model: nn.Module, source: str | Path | Mapping[str, Any], ema: bool = True) -> None:
    """Load weights in any dialect into a plain restorer or its bare network, completely.

    Args:
        model: A plain restorer (``BaseEditModel``) or a bare network.
        source: Path of a checkpoint, a checkpoint that was read, or a state dict. Of a cascade's,
            the student is taken.
        ema: Take averaged weights if there are any; else the raw ones.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read.
        ValueError: If its weights do not match the model's completely; the message names the file
            and lists the keys.

    Example:
        >>> network = nn.Linear(1, 1)
        >>> load_plain(network, {'params': {k: v + 1 for k, v in network.state_dict().items()}})
    """
    if isinstance(source, Mapping):
        weights = to_plain_state_dict(find_state_dict(source, ema), model.state_dict())
    else:
        found = read_weights(source, ema)
        try:
            weights = to_plain_state_dict(found, model.state_dict())
        except ValueError as error:
            raise ValueError(f'{source}: {error}') from error
    model.load_state_dict(weights, strict=True)
