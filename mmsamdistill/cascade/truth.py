"""The ground truth of a batch, and which of its images have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Rows = Tensor | slice


def ground_truth(data_samples: Any) -> Tensor:
    """Take the batch's truth, or say what is missing."""
    truth = getattr(data_samples, 'gt_img', None)
    if truth is None:
        raise ValueError(
            'the batch has no ground truth (gt_img): training needs it, so the data set needs a '
            "folder of it, data_prefix=dict(img=..., gt=...), and its pipeline key='gt'. Images "
            'without any, mixed with others that have one, are marked by dict(type='
            "'WithoutTruth') in their pipeline"
        )
    return truth


def labelled_images(truth: Tensor) -> Tensor | None:
    """Tell (N,) which images have a truth; None if all. ``WithoutTruth`` writes NaN for it.

    Where a mark was lost, the loss would become NaN instead of teaching something wrong.
    """
    labelled = ~truth.flatten(1)[:, 0].isnan()
    return None if bool(labelled.all()) else labelled


def of_images(tensors: Sequence[Tensor], labelled: Tensor | None) -> list[Tensor]:
    """Take the labelled images out of each tensor."""
    return list(tensors) if labelled is None else [tensor[labelled] for tensor in tensors]


def known_or(truth: Tensor, image: Tensor, labelled: Tensor | None) -> Tensor:
    """Give the truth, and where there is none the image, which then is its own target."""
    if labelled is None:
        return truth
    return torch.where(labelled.view(-1, 1, 1, 1), truth, image.detach())
