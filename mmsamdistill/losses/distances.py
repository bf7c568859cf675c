"""How far the student is from the teacher: distances of images and of features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def l1_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference; the gradient has the same size however close the two are.

    Args:
        student: What is drawn.
        target: Where it is drawn to, same shape.

    Returns:
        Scalar, zero for equal inputs.

    Example:
        >>> l1_distance(torch.tensor([1.0, 4.0]), torch.tensor([0.0, 2.0])).item()
        1.5

    Source: ours.
    """
    return (student - target).abs().mean()


def l2_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference; the gradient fades as the two approach each other.

    Args:
        student: What is drawn.
        target: Where it is drawn to, same shape.

    Returns:
        Scalar, zero for equal inputs.

    Example:
        >>> l2_distance(torch.tensor([1.0, 4.0]), torch.tensor([0.0, 2.0])).item()
        2.5

    Source: ours.
    """
    return (student - target).square().mean()


def charbonnier_distance(student: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    r"""Smooth absolute difference, shifted to be zero for equal inputs.

    .. math:: D = mean(\sqrt{(I_1 - I_2)^2 + \epsilon^2} - \epsilon)

    Args:
        student: What is drawn.
        target: Where it is drawn to, same shape.
        eps: Differences well below it count squared, those well above it absolutely. In the units
            of the images, above 0.

    Returns:
        Scalar, zero for equal inputs.

    Example:
        >>> charbonnier_distance(torch.tensor([3.0]), torch.tensor([0.0]), eps=4.0).item()
        1.0

    Source: ours.
    """
    return ((student - target).square() + eps**2).sqrt().mean() - eps


def matched_distance(student: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    r"""Squared difference weighted per image, so that its gradient is in given units.

    .. math:: D = \sum_n \tfrac{1}{2} s_n \|I_{1,n} - I_{2,n}\|^2, \qquad
              \partial D / \partial I_{1,n} = s_n (I_{1,n} - I_{2,n})

    Args:
        student: What is drawn.
        target: Where it is drawn to.
        scale: Units of each image's gradient, from :func:`gradient_scale`.

    Shape:
        - student, target: (N, C, H, W)
        - scale: (N,)

    Returns:
        Scalar, zero for equal inputs.

    Example:
        >>> student = torch.full((1, 1, 1, 2), 3.0, requires_grad=True)
        >>> matched_distance(student, torch.ones(1, 1, 1, 2), torch.tensor([0.5])).backward()
        >>> student.grad.flatten().tolist()
        [1.0, 1.0]

    Source: ours.
    """
    return 0.5 * (scale * (student - target).square().flatten(1).sum(dim=1)).sum()


def gradient_scale(
    student: Tensor,
    gt: Tensor,
    pixel_loss: Callable[[Tensor, Tensor], Tensor],
    eps: float = 1e-8,
) -> Tensor:
    r"""How much gradient a reconstruction loss gives per unit of error, for each image.

    .. math:: s_n = \frac{\|g_n\|_2}{\|I_{1,n} - y_n\|_2}, \qquad
              g = \partial L_{rec} / \partial I_1

    A mean squared error has the constant :math:`2 / (NCHW)`. NAFNet's logarithmic ``PSNRLoss`` has
    a value that grows as training succeeds: beside it any distance of fixed units disappears, and
    the loss itself used as a distance has an ever steeper gradient as the student nears the
    teacher. Measured on the loss at hand, one weight means the same beside every loss.

    Args:
        student: Restored images; detached here.
        gt: Ground truth.
        pixel_loss: The reconstruction loss, called as ``pixel_loss(student, gt)``.
        eps: An image whose error has a smaller norm gets the scale 0: it is perfect already, and
            the quotient is undefined.

    Shape:
        - student, gt: (N, C, H, W)
        - returns: (N,)

    Returns:
        The scales, without a graph. No gradient reaches parameters of ``pixel_loss``.

    Raises:
        ValueError: If ``pixel_loss`` does not return a scalar.

    Example:
        >>> student, gt = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
        >>> gradient_scale(student, gt, torch.nn.MSELoss()).item()
        0.5

    Source: ours.
    """
    leaf = student.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = pixel_loss(leaf, gt.detach())
    if loss.numel() != 1:
        raise ValueError(
            f'pixel_loss returned a tensor of shape {tuple(loss.shape)}; '
            "a scalar is needed, give it reduction='mean'"
        )
    (gradient,) = torch.autograd.grad(loss, leaf, torch.ones_like(loss))
    error = (leaf - gt).detach().flatten(1).norm(dim=1)
    scale = gradient.flatten(1).norm(dim=1) / error.clamp_min(eps)
    return torch.where(error > eps, scale, torch.zeros_like(scale))


def feature_distance(student: Tensor, teacher: Tensor, eps: float = 1e-6) -> Tensor:
    r"""Squared difference of two feature maps, relative to the teacher's variance.

    .. math:: D = \frac{mean((a - b)^2)}{var(b) + \epsilon}

    Layers differ in magnitude by orders; relative to its own variance each weighs the same.

    Args:
        student: The student's features :math:`a`.
        teacher: The teacher's features :math:`b`, same shape; detached here.
        eps: Keeps constant features finite.

    Returns:
        Scalar, zero for equal inputs.

    Example:
        >>> feature_distance(torch.zeros(2), torch.tensor([-1.0, 1.0]), eps=0.0).item()
        1.0

    Source: ours.
    """
    teacher = teacher.detach()
    return l2_distance(student, teacher) / (teacher.var(correction=0) + eps)
