"""What a training step of a cascade is made of: truth, outputs, regions, and whether it teaches."""

import functools
import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import MessageHub, print_log
from torch import Tensor, nn

from mmsamdistill.cascade.image_range import to_unit_rgb
from mmsamdistill.losses.sgr import connected_zero
from mmsamdistill.regions import RegionMap


def image_of(inputs: Tensor | dict[str, Tensor]) -> Tensor:
    """Take the image out of what MMagic's pipelines give, a dict where there is more than that."""
    return inputs['img'] if isinstance(inputs, dict) else inputs


def ground_truth(data_samples: Any) -> tuple[Tensor, Tensor | None]:
    """Take the batch's truth, and (N,) which images have one; None if all."""
    truth = getattr(data_samples, 'gt_img', None)
    if truth is None:
        raise ValueError(
            'the batch has no ground truth (gt_img): training needs it, so the data set needs a '
            "folder of it, data_prefix=dict(img=..., gt=...), and its pipeline key='gt'. Images "
            'without any, mixed with others that have one, are marked by dict(type='
            "'WithoutTruth') in their pipeline"
        )
    # WithoutTruth writes NaN: where a mark was lost, the loss becomes NaN instead of teaching
    # something wrong.
    labelled = ~truth.flatten(1)[:, 0].isnan()
    return truth, None if bool(labelled.all()) else labelled


@functools.cache  # said once
def warn_of_feedback(partly_labelled: bool, stage: str, teacher_input: str) -> None:
    """Say if images without a truth are about to be taught by their own results."""
    if not partly_labelled or stage != 'joint' or teacher_input != 'restored':
        return
    print_log(
        "images without a truth in joint training with teacher_input='restored': what they are "
        "drawn to is computed from the student's own result, and nothing holds either, which did "
        "harm where it was measured (docs/results.md). Train a teacher first (stage='teacher', "
        "then stage='student'), or use teacher_input='degraded'",
        logger='current',
        level=logging.WARNING,
    )


def of_images(tensors: Sequence[Tensor], labelled: Tensor | None) -> list[Tensor]:
    """Take the labelled images out of each tensor."""
    return list(tensors) if labelled is None else [tensor[labelled] for tensor in tensors]


def known_or(truth: Tensor, image: Tensor, labelled: Tensor | None) -> Tensor:
    """Give the truth, and where there is none the image, which then is its own target."""
    if labelled is None:
        return truth
    return torch.where(labelled.view(-1, 1, 1, 1), truth, image.detach())


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


def regions_of(
    restored: Tensor, source: nn.Module | None, data_preprocessor: nn.Module, data_samples: Any
) -> RegionMap:
    """Find regions in the restored images, or take them from a cache; without a source, none."""
    if source is None:
        return RegionMap.from_labels(torch.zeros_like(restored[:, 0], dtype=torch.long))
    seen = to_unit_rgb(restored.detach(), data_preprocessor, data_samples)
    # Maps of another size are the source's to refuse: it knows of which images they are.
    return RegionMap.from_labels(source(seen.float().clamp(0, 1), data_samples))


def teaches_now(interval: int) -> bool:
    """Tell whether the Runner's current iteration is one of every ``interval``; the first is."""
    return MessageHub.get_current_instance().get_info('iter', 0) % interval == 0


def warmup_factor(warmup: tuple[int, int]) -> float:
    r"""Weight at the Runner's current iteration ``t``, so that a resumed run agrees.

    .. math:: \min(1, \max(0, (t - a) / (b - a)))

    Early in training the teacher is no better than the student, and its mistakes are not worth
    imitating. (a, a) is a step at a, (0, 0) means no warm-up; 1 where no iteration is known.
    """
    begin, end = warmup
    iteration = MessageHub.get_current_instance().get_info('iter', end)
    if iteration >= end:
        return 1.0
    return max(0.0, (iteration - begin) / (end - begin))
