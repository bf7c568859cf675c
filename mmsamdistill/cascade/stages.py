"""Restorers of one output and of several, seen alike by the cascade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def run_stages(model: nn.Module, inputs: Tensor, data_samples: Any = None) -> list[Tensor]:
    """Run a restorer and take all of its outputs, the deployed one last.

    A restorer with outputs besides the deployed one has a method ``forward_stages``, which returns
    them all, and a method ``auxiliary_loss`` for those that are not deployed; any other restorer
    has the one that ``forward_tensor`` returns.

    Args:
        model: A plain restorer.
        inputs: Images, preprocessed.
        data_samples: Stacked data samples.

    Shape:
        - inputs, each output: (N, C, H, W)

    Returns:
        At least one output.

    Raises:
        TypeError: If an output is not a tensor.

    Source: ours.
    """
    if hasattr(model, 'forward_stages'):
        stages = list(model.forward_stages(inputs, data_samples))
    else:
        stages = [model.forward_tensor(inputs, data_samples)]
    for stage in stages:
        if not isinstance(stage, Tensor):
            raise TypeError(
                f'the restorer {type(model).__name__} returned {type(stage).__name__}; '
                'SAMDistillRestorer needs one image tensor, or a method `forward_stages` that '
                'returns several, the deployed one last (see MultiStageRestorer)'
            )
    return stages


def stage_losses(
    restorer: nn.Module, stages: Sequence[Tensor], truth: Tensor, suffix: str = ''
) -> dict[str, Tensor]:
    """Judge all outputs of a restorer, each by the loss that it was made for.

    Args:
        restorer: The restorer whose criteria count: its ``pixel_loss`` for the deployed output,
            its ``auxiliary_loss`` for the others together.
        stages: Outputs of this restorer or of its teacher, from :func:`run_stages`.
        truth: Ground truth.
        suffix: Put behind the names of the losses.

    Returns:
        ``loss_rec``, and ``loss_aux`` if there is more than one output.

    Example:
        >>> import torch
        >>> model = nn.Module()
        >>> model.pixel_loss = nn.L1Loss()
        >>> stage_losses(model, [torch.ones(1)], torch.zeros(1), '_teacher')
        {'loss_rec_teacher': tensor(1.)}

    Source: ours.
    """
    *others, deployed = stages
    losses = {f'loss_rec{suffix}': restorer.pixel_loss(deployed, truth)}
    if others:
        losses[f'loss_aux{suffix}'] = restorer.auxiliary_loss(others, truth)
    return losses


def check_same_size(inputs: Tensor, restored: Tensor, truth: Tensor) -> None:
    """Refuse a restorer that changes the size of its input.

    Args:
        inputs: Degraded images.
        restored: What the restorer made of them.
        truth: Ground truth.

    Shape:
        - inputs, restored, truth: (N, C, H, W)

    Raises:
        ValueError: If the shapes differ.

    Source: ours.
    """
    if not inputs.shape == restored.shape == truth.shape:
        raise ValueError(
            f'input {tuple(inputs.shape)}, restored {tuple(restored.shape)} and truth '
            f'{tuple(truth.shape)} differ in shape: SAMDistillRestorer trains restorers that map '
            'an image to one of the same size; super-resolution and the like are not supported'
        )
