"""Peak signal-to-noise ratio."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Image: TypeAlias = Tensor | np.ndarray


def psnr(prediction: Image, truth: Image, peak: float = 255.0) -> Tensor:
    r"""Peak signal-to-noise ratio of images.

    .. math:: 10 \log_{10} \frac{peak^2}{\mathrm{mean}((prediction - truth)^2)}

    The mean is over all pixels and channels of an image and is accumulated in float64. What the
    pixel values are (rounded or not, RGB or luma) decides the result as much as the restorer does:
    see :mod:`mmsamdistill.evaluation.protocols`.

    Args:
        prediction: Restored images.
        truth: Ground truth.
        peak: Largest possible value. Default: 255.

    Shape:
        - prediction, truth: ``(C, H, W)`` or ``(N, C, H, W)``
        - result: ``()`` or ``(N,)``

    Returns:
        PSNR of each image in dB, float64; infinite for identical images, as in MATLAB and BasicSR,
        so that the mean over a data set is infinite as well.

    Raises:
        ValueError: If the shapes differ or are not those of images.

    Example:
        >>> psnr(torch.full((1, 4, 4), 100.0), torch.full((1, 4, 4), 101.0)).item()
        48.1308036086791
    """
    error = squared_error(prediction, truth).flatten(-2).mean(-1)
    return decibel(error, peak)


def squared_error(prediction: Image, truth: Image) -> Tensor:
    """Squared error of each pixel, averaged over the channels.

    Args:
        prediction: Restored images.
        truth: Ground truth.

    Shape:
        - prediction, truth: ``(C, H, W)`` or ``(N, C, H, W)``
        - result: ``(H, W)`` or ``(N, H, W)``

    Returns:
        The errors, float64.

    Raises:
        ValueError: If the shapes differ or are not those of images.

    Example:
        >>> squared_error(torch.zeros(2, 1, 1), torch.tensor([[[1.0]], [[3.0]]])).tolist()
        [[5.0]]
    """
    prediction, truth = image_pair(prediction, truth)
    return (prediction - truth).square().mean(-3)


def decibel(error: Tensor, peak: float = 255.0) -> Tensor:
    """PSNR of a mean squared error.

    Args:
        error: Mean squared errors, at least 0.
        peak: Largest possible value, positive. Default: 255.

    Shape:
        - error, result: any

    Returns:
        Decibels; infinite where the error is 0.

    Raises:
        ValueError: If ``peak`` is not positive.

    Example:
        >>> decibel(torch.tensor([0.0, 255.0**2])).tolist()
        [inf, 0.0]
    """
    if not peak > 0:
        raise ValueError(f'peak must be positive, got {peak}')
    return 10 * torch.log10(peak**2 / error)


def image_pair(prediction: Image, truth: Image) -> tuple[Tensor, Tensor]:
    """Two images as float64 tensors on one device.

    Args:
        prediction: Restored images; where they lie decides where the metrics are computed.
        truth: Ground truth.

    Shape:
        - prediction, truth: ``(C, H, W)`` or ``(N, C, H, W)``

    Returns:
        Both, detached.

    Raises:
        ValueError: If the shapes differ or are not those of images.
    """
    first, second = torch.as_tensor(prediction).detach(), torch.as_tensor(truth).detach()
    if first.shape != second.shape:
        raise ValueError(
            f'prediction and truth must be of one shape, got {tuple(first.shape)} and '
            f'{tuple(second.shape)}'
        )
    if first.dim() not in (3, 4) or not first.numel():
        raise ValueError(
            f'images must be (C, H, W) or (N, C, H, W) and not empty, got {tuple(first.shape)}'
        )
    return first.double(), second.to(first.device).double()
