"""Restorers of one output and of several, seen alike by the cascade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmsamdistill.losses.relations import connected_zero


def run_stages(model: nn.Module, inputs: Tensor, data_samples: Any = None) -> list[Tensor]:
    """Run a restorer and take all of its outputs (N, C, H, W), the deployed one last.

    A restorer with outputs besides the deployed one has a method ``forward_stages``, which returns
    them all, and a method ``auxiliary_loss`` for those that are not deployed; any other restorer
    has the one that ``forward_tensor`` returns.
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
    """Judge all outputs, each by the loss it was made for: ``loss_rec`` and perhaps ``loss_aux``.

    The restorer's criteria count for its teacher's outputs as well. Of no images at all the losses
    are zero and part of the graph, which every process of DDP needs.
    """
    *others, deployed = stages
    if not len(truth):
        losses = {f'loss_rec{suffix}': connected_zero(deployed)}
        if others:
            losses[f'loss_aux{suffix}'] = sum(connected_zero(stage) for stage in others)
        return losses
    losses = {f'loss_rec{suffix}': restorer.pixel_loss(deployed, truth)}
    if others:
        losses[f'loss_aux{suffix}'] = restorer.auxiliary_loss(others, truth)
    return losses
