"""The gradient of the reconstruction as the unit of every other loss.

NAFNet's logarithmic ``PSNRLoss`` has a gradient that grows as training succeeds, some 190 times
that of an L1 loss at 26.7 dB: beside it any loss of fixed units disappears. Measured on the
reconstruction loss at hand, one weight means the same beside every loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mmsamdistill.regions.membership import widen

PixelLoss = Callable[[Tensor, Tensor], Tensor]


def gradient_scale(student: Tensor, gt: Tensor, pixel_loss: PixelLoss, eps: float = 1e-8) -> Tensor:
    r"""Gradient of a reconstruction loss per unit of error, for each image (N,).

    .. math:: s_n = \frac{\|g_n\|_2}{\|I_{1,n} - y_n\|_2}, \qquad
              g = \partial L_{rec} / \partial I_1

    A mean squared error has the constant :math:`2 / (NCHW)`. An image whose error has a norm below
    ``eps`` gets 0: it is perfect already, and the quotient is undefined.
    """
    gradient = _gradient(student, gt, pixel_loss)
    error = (student - gt).detach().flatten(1).norm(dim=1)
    scale = gradient.flatten(1).norm(dim=1) / error.clamp_min(eps)
    return torch.where(error > eps, scale, torch.zeros_like(scale))


def gradient_ratio(
    student: Tensor, gt: Tensor, pixel_loss: PixelLoss, count: int, span: float = 1.0
) -> Tensor:
    r"""How much larger a loss's gradient is than that of L1 on images in [0, 1].

    .. math:: mean_n \|g_n\|_2 / \frac{1}{count \, span \sqrt{CHW}}

    ``span`` is the distance from black to white in the range of the images, and ``count`` the
    number of images over which the loss that is to be matched takes its mean. Without any image it
    is zero: nothing says what to match.
    """
    if not len(student):
        return student.new_zeros(())
    gradient = _gradient(student, gt, pixel_loss).flatten(1)
    unit = 1 / (count * span * math.sqrt(gradient.shape[1]))
    return gradient.norm(dim=1).mean() / unit


def _gradient(student: Tensor, gt: Tensor, pixel_loss: PixelLoss) -> Tensor:
    leaf = widen(student.detach()).clone().requires_grad_()
    # In float32 also under mixed precision: there is no loss scale here to keep it from vanishing.
    with torch.enable_grad(), torch.autocast(student.device.type, enabled=False):
        loss = pixel_loss(leaf, widen(gt.detach()))
        if loss.numel() != 1:
            raise ValueError(
                f'pixel_loss returned a tensor of shape {tuple(loss.shape)}; '
                "a scalar is needed, give it reduction='mean'"
            )
        # Of the images alone: parameters of the loss, if it has any, get nothing.
        (gradient,) = torch.autograd.grad(loss, leaf, torch.ones_like(loss))
    return gradient
