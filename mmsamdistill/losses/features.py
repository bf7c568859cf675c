"""Features drawn together one by one, without regions: what SGR is to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.losses.sgr import TARGETS, check_layers
from mmsamdistill.losses.spd import feature_distance
from mmsamdistill.regions.membership import widen


@MODELS.register_module()
class FeatureLoss(nn.Module):
    r"""Draw the student's features to those of the truth, or of the teacher.

    .. math:: \lambda \, mean_l \frac{mean((\phi_l(I_1) - \phi_l(I))^2)}{var(\phi_l(I))}

    Takes the place of :class:`SGRLoss` (``sgr_loss=dict(type='FeatureLoss')``) and asks whether
    relations between regions are needed, or features alone do as much. Known as perceptual loss.

    Args:
        loss_weight: :math:`\lambda`, at least 0.
        target: Whose features: 'truth' or 'teacher'.
        matched: As for :class:`SGRLoss`.

    Shape:
        - features, target_features: sequences of (N, C, h, w), a layer each

    Raises:
        ValueError: If an argument is out of range, or layers or shapes do not agree.

    Example:
        >>> loss = FeatureLoss(loss_weight=0.5)
        >>> target = torch.tensor([[[[0.0, 2.0]]]])
        >>> round(loss([target + 2], [target], None).item(), 4)
        2.0
    """

    def __init__(
        self, loss_weight: float = 0.02, target: str = 'truth', matched: bool = True
    ) -> None:
        super().__init__()
        if target not in TARGETS:
            raise ValueError(f'target={target!r} is not one of {TARGETS}')
        if loss_weight < 0:
            raise ValueError(f'loss_weight={loss_weight} must be at least 0')
        self.loss_weight = loss_weight
        self.target = target
        self.matched = matched

    def forward(
        self, features: Sequence[Tensor], target_features: Sequence[Tensor], regions: Any = None
    ) -> Tensor:
        """Compute the weighted distance, in float32 also under mixed precision.

        Args:
            features: The student's features, which get the gradient.
            target_features: What they are drawn to; detached here.
            regions: Unused.

        Returns:
            Scalar.
        """
        check_layers(features, target_features)
        distances = []
        for ours, theirs in zip(features, target_features, strict=True):
            with torch.autocast(ours.device.type, enabled=False):
                distances.append(feature_distance(widen(ours), widen(theirs)))
        return self.loss_weight * torch.stack(distances).mean()

    def extra_repr(self) -> str:
        """Say what this loss does, for ``print(model)``."""
        return f'loss_weight={self.loss_weight}, target={self.target!r}, matched={self.matched}'
