"""How far the student is from the teacher: distances of images and of features, 0 where equal."""

from __future__ import annotations

from torch import Tensor


def l1_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference; the gradient has the same size however close the two are."""
    return (student - target).abs().mean()


def l2_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference; the gradient fades as the two approach each other."""
    return (student - target).square().mean()


def charbonnier_distance(student: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    r"""Smooth absolute difference, :math:`mean(\sqrt{(I_1 - I_2)^2 + \epsilon^2} - \epsilon)`."""
    return ((student - target).square() + eps**2).sqrt().mean() - eps


def matched_distance(student: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    r"""Squared difference whose gradient has given units, those of ``gradient_scale`` (N,).

    .. math:: D = \sum_n \tfrac{1}{2} s_n \|I_{1,n} - I_{2,n}\|^2, \qquad
              \partial D / \partial I_{1,n} = s_n (I_{1,n} - I_{2,n})
    """
    return 0.5 * (scale * (student - target).square().flatten(1).sum(dim=1)).sum()


def feature_distance(student: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    r"""Squared difference relative to the target's variance, :math:`mean((a - b)^2) / var(b)`.

    Layers differ in magnitude by orders; relative to its own variance each weighs the same.
    """
    target = target.detach()
    # eps keeps constant features finite.
    return l2_distance(student, target) / (target.var(correction=0) + eps)
