"""Losses that MMagic lacks: structural similarity, fine detail, and several losses as one."""

from collections.abc import Mapping

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmsamdistill.arguments import check_positive

# The window of Burt and Adelson's pyramid, IEEE TC 1983.
_PYRAMID = (0.05, 0.25, 0.4, 0.25, 0.05)


@MODELS.register_module()
class EdgeLoss(nn.Module):
    r"""Smooth absolute difference of the images' fine detail.

    .. math:: w \cdot mean(\sqrt{(\Delta I - \Delta y)^2 + \epsilon^2})

    with :func:`laplacian` :math:`\Delta`, which is linear, so that one pass over the difference
    does for both. Computed in float32 also under mixed precision.

    Args:
        loss_weight: :math:`w`. Default: 1.
        eps: :math:`\epsilon`, in the units of the images, above 0. Default: 1e-3.

    Example:
        >>> image = torch.rand(1, 3, 8, 8)
        >>> round(EdgeLoss()(image, image).item(), 6)
        0.001

    Source: Jiang et al., CVPR 2020, as used by Zamir et al., CVPR 2021 (MPRNet).
    """

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-3) -> None:
        super().__init__()
        check_positive(eps=eps)
        self.loss_weight = loss_weight
        self.eps = eps

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Compute the loss, a scalar of at least ``loss_weight * eps``."""
        with torch.autocast(prediction.device.type, enabled=False):
            dtype = torch.promote_types(prediction.dtype, torch.float32)
            detail = laplacian(prediction.to(dtype) - truth.to(dtype))
            return self.loss_weight * (detail.square() + self.eps**2).sqrt().mean()


@MODELS.register_module()
class SSIMLoss(nn.Module):
    r"""Negative mean of :func:`local_similarity`, :math:`-w \cdot mean(SSIM)`.

    Args:
        loss_weight: :math:`w`. Default: 1.
        size: Side of the window, odd. Default: 11.
        peak: Largest possible value of the normalised images. Default: 1.

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
        check_positive(peak=peak)
        self.loss_weight = loss_weight
        self.size = size
        self.peak = peak

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Compute the loss, a scalar of at least ``-loss_weight``."""
        return -self.loss_weight * local_similarity(prediction, truth, self.size, self.peak).mean()


@MODELS.register_module()
class SummedLoss(nn.Module):
    """Sum of losses, where MMagic's models and the distillation take one ``pixel_loss``.

    Args:
        losses: Configs of the losses by names of your choice, so that an inheriting config can
            change one; each weighs what its own ``loss_weight`` says.

    Example:
        >>> parts = {'near': dict(type='L1Loss'), 'far': dict(type='MSELoss', loss_weight=2.0)}
        >>> SummedLoss(parts)(torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).item()
        3.0
    """

    def __init__(self, losses: Mapping[str, dict]) -> None:
        super().__init__()
        if not losses:
            raise ValueError(
                'losses is empty; give at least one, losses=dict(pixel=dict(type=...))'
            )
        self.losses = nn.ModuleDict({name: MODELS.build(loss) for name, loss in losses.items()})

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Compute the sum, a scalar."""
        return sum(loss(prediction, truth) for loss in self.losses.values())


def laplacian(image: Tensor) -> Tensor:
    """Finest level of an image's Laplacian pyramid, ``I - G(up(down(G(I))))``.

    Halving and doubling leave every second pixel of every second row, four times as bright, between
    zeros; ``G`` repeats the border.
    """
    taps = image.new_tensor(_PYRAMID)
    blurred = _blur(image, taps, 'replicate')
    kept = torch.zeros_like(blurred)
    kept[..., ::2, ::2] = 4 * blurred[..., ::2, ::2]
    return image - _blur(kept, taps, 'replicate')


def local_similarity(
    prediction: Tensor, truth: Tensor, size: int = 11, peak: float = 1.0
) -> Tensor:
    """Structural similarity (Wang et al., IEEE TIP 2004) at every pixel, differentiable.

    Under a gaussian window of standard deviation 1.5, images continued by zeros as in ``SSIM.py``
    of csdwren/PReNet. What papers report is :func:`mmsamdistill.evaluation.ssim.ssim`.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        # 1. Local moments. The variances are differences of nearly equal numbers: in float32.
        dtype = torch.promote_types(prediction.dtype, torch.float32)
        a, b = prediction.to(dtype), truth.to(dtype)
        reach = torch.arange(size, device=a.device, dtype=dtype) - size // 2
        taps = (-0.5 * (reach / 1.5).square()).exp()
        together = torch.cat([a, b, a * a, b * b, a * b], dim=1)
        moments = _blur(together, taps / taps.sum(), 'constant')
        mean_a, mean_b, square_a, square_b, product = moments.split(a.shape[1], dim=1)
        # 2. Means and variances of both images, and what they share.
        means, mean_ab = mean_a.square() + mean_b.square(), mean_a * mean_b
        variances, covariance = square_a + square_b - means, product - mean_ab
        c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
        return (2 * mean_ab + c1) * (2 * covariance + c2) / ((means + c1) * (variances + c2))


def _blur(image: Tensor, taps: Tensor, mode: str) -> Tensor:
    """Convolve rows and columns of every channel; the border is padded by this mode."""
    channels = image.shape[1]
    kernel = taps.expand(channels, 1, 1, len(taps))
    image = F.pad(image, [len(taps) // 2] * 4, mode=mode)
    image = F.conv2d(image, kernel, groups=channels)
    return F.conv2d(image, kernel.transpose(2, 3), groups=channels)
