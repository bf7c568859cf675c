"""What passes from one stage of a restorer to the next."""

from __future__ import annotations

from torch import Tensor, nn


class SupervisedAttention(nn.Module):
    r"""Turn a stage's features into its image, and let the image gate what the next stage sees.

    .. math:: I = x + W_2 f, \qquad f' = f + W_1 f \cdot \sigma(W_3 I)

    The image is supervised, so the gate learns where the stage has restored well (Zamir et al.,
    CVPR 2021; names of the parameters as in ``sam12`` of swz30/MPRNet and megvii-model/HINet).
    """

    def __init__(self, channels: int, kernel_size: int, bias: bool) -> None:
        super().__init__()
        half = kernel_size // 2
        self.conv1 = nn.Conv2d(channels, channels, kernel_size, padding=half, bias=bias)
        self.conv2 = nn.Conv2d(channels, 3, kernel_size, padding=half, bias=bias)
        self.conv3 = nn.Conv2d(3, channels, kernel_size, padding=half, bias=bias)

    def forward(self, features: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gated features and the stage's image."""
        restored = self.conv2(features) + image
        gate = self.conv3(restored).sigmoid()
        return self.conv1(features) * gate + features, restored
