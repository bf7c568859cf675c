"""How far two images are apart in their fine detail."""

from __future__ import annotations

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

_TAPS = (0.05, 0.25, 0.4, 0.25, 0.05)


def laplacian(image: Tensor) -> Tensor:
    """Finest level of an image's Laplacian pyramid, :math:`I - G(up(down(G(I))))`."""
    blurred = _blur(image)
    kept = torch.zeros_like(blurred)
    kept[..., ::2, ::2] = 4 * blurred[..., ::2, ::2]
    return image - _blur(kept)


def _blur(image: Tensor) -> Tensor:
    channels = image.shape[1]
    taps = image.new_tensor(_TAPS).expand(channels, 1, 1, len(_TAPS))
    image = F.pad(image, (2, 2, 2, 2), mode='replicate')
    image = F.conv2d(image, taps, groups=channels)
    return F.conv2d(image, taps.transpose(2, 3), groups=channels)


@MODELS.register_module()
class EdgeLoss(nn.Module):
    r"""Smooth absolute difference of the images' fine detail.

    .. math:: w \cdot mean(\sqrt{(\Delta I - \Delta y)^2 + \epsilon^2})

    with :func:`laplacian` :math:`\Delta`, which is linear, so that one pass over the difference
    does for both. Computed in float32 also under mixed precision.

    Args:
        loss_weight: :math:`w`. Default: 1.
        eps: :math:`\epsilon`, in the units of the images, above 0. Default: 1e-3.

    Shape:
        - prediction, truth: (N, C, H, W)

    Raises:
        ValueError: If ``eps`` is not positive.

    Example:
        >>> image = torch.rand(1, 3, 8, 8)
        >>> round(EdgeLoss()(image, image).item(), 6)
        0.001

    Source: Jiang et al., CVPR 2020, as used by Zamir et al., CVPR 2021 (MPRNet).
    """

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-3) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f'eps must be positive, got {eps}')
        self.loss_weight = loss_weight
        self.eps = eps

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Compute the loss, a scalar of at least ``loss_weight * eps``."""
        with torch.autocast(prediction.device.type, enabled=False):
            dtype = torch.promote_types(prediction.dtype, torch.float32)
            detail = laplacian(prediction.to(dtype) - truth.to(dtype))
            return self.loss_weight * (detail.square() + self.eps**2).sqrt().mean()
