"""Structural similarity as a loss."""

from __future__ import annotations

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


def local_similarity(
    prediction: Tensor, truth: Tensor, size: int = 11, peak: float = 1.0
) -> Tensor:
    """Structural similarity (Wang et al., IEEE TIP 2004) at every pixel, differentiable."""
    with torch.autocast(prediction.device.type, enabled=False):
        # The variances are differences of nearly equal numbers.
        dtype = torch.promote_types(prediction.dtype, torch.float32)
        a, b = prediction.to(dtype), truth.to(dtype)
        channels = a.shape[1]
        moments = _blur(torch.cat([a, b, a * a, b * b, a * b], dim=1), size)
        mean_a, mean_b, square_a, square_b, product = moments.split(channels, dim=1)
        means, mean_ab = mean_a.square() + mean_b.square(), mean_a * mean_b
        variances, covariance = square_a + square_b - means, product - mean_ab
        c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
        return (2 * mean_ab + c1) * (2 * covariance + c2) / ((means + c1) * (variances + c2))


def _blur(x: Tensor, size: int) -> Tensor:
    reach = torch.arange(size, device=x.device, dtype=x.dtype) - size // 2
    taps = (-0.5 * (reach / 1.5).square()).exp()
    taps = (taps / taps.sum()).expand(x.shape[1], 1, 1, size)
    x = F.conv2d(x, taps, padding=(0, size // 2), groups=x.shape[1])
    return F.conv2d(x, taps.transpose(2, 3), padding=(size // 2, 0), groups=x.shape[1])


@MODELS.register_module()
class SSIMLoss(nn.Module):
    r"""Negative mean of :func:`local_similarity`, :math:`-w \cdot mean(SSIM)`.

    Args:
        loss_weight: :math:`w`. Default: 1.
        size: Side of the window, odd. Default: 11.
        peak: Largest possible value of the normalised images. Default: 1.

    Shape:
        - prediction, truth: (N, C, H, W)

    Raises:
        ValueError: If ``size`` is even or below 3, or ``peak`` is not positive.

    Example:
        >>> image = torch.rand(1, 3, 8, 8)
        >>> round(SSIMLoss()(image, image).item(), 6)
        -1.0

    Source: Ren et al., CVPR 2019 (single supervision by negative SSIM).
    """

    def __init__(self, loss_weight: float = 1.0, size: int = 11, peak: float = 1.0) -> None:
        super().__init__()
        if size < 3 or size % 2 == 0:
            raise ValueError(f'size must be odd and at least 3, got {size}')
        if not peak > 0:
            raise ValueError(f'peak must be positive, got {peak}')
        self.loss_weight = loss_weight
        self.size = size
        self.peak = peak

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Compute the loss, a scalar of at least ``-loss_weight``."""
        return -self.loss_weight * local_similarity(prediction, truth, self.size, self.peak).mean()
