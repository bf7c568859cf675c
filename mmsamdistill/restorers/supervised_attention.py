"""What passes from one stage of a restorer to the next."""

from __future__ import annotations

from torch import Tensor, nn


class SupervisedAttention(nn.Module):
    """Turn a stage's features into its image, and let the image gate what the next stage sees."""

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
