"""Peak signal-to-noise ratio."""

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mmsamdistill.arguments import check_positive

Image: TypeAlias = Tensor | np.ndarray


def psnr(prediction: Image, truth: Image, peak: float = 255.0) -> Tensor:
    """PSNR of each image in dB over all pixels and channels; infinite for identical images."""
    return decibel(squared_error(prediction, truth).flatten(-2).mean(-1), peak)


def squared_error(prediction: Image, truth: Image) -> Tensor:
    """Squared error of each pixel, averaged over the channels: ``(..., H, W)`` float64."""
    prediction, truth = image_pair(prediction, truth)
    return (prediction - truth).square().mean(-3)


def decibel(error: Tensor, peak: float = 255.0) -> Tensor:
    """PSNR of mean squared errors in dB."""
    check_positive(peak=peak)
    return 10 * torch.log10(peak**2 / error)


def image_pair(prediction: Image, truth: Image) -> tuple[Tensor, Tensor]:
    """Two images ``(C, H, W)`` or ``(N, C, H, W)`` as float64 tensors on the first one's device."""
    first, second = torch.as_tensor(prediction).detach(), torch.as_tensor(truth).detach()
    if first.shape != second.shape:
        raise ValueError(
            f'prediction {tuple(first.shape)}, truth {tuple(second.shape)}: not of one shape'
        )
    if first.dim() not in (3, 4) or not first.numel():
        raise ValueError(
            f'images must be (C, H, W) or (N, C, H, W) and not empty, got {tuple(first.shape)}'
        )
    return first.double(), second.to(first.device).double()
