"""Several losses as one."""

from __future__ import annotations

from collections.abc import Mapping

from mmagic.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SummedLoss(nn.Module):
    """Sum of losses, where MMagic's models and the distillation take one ``pixel_loss``.

    Args:
        losses: Configs of the losses by names of your choice, so that an inheriting config can
            change one; each weighs what its own ``loss_weight`` says.

    Shape:
        - prediction, truth: (N, C, H, W)

    Raises:
        ValueError: If there are none.

    Example:
        >>> import torch
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
