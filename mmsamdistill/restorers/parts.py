"""What restorers of several stages share."""

from torch import Tensor, nn
from torch.nn import functional as F


class SupervisedAttention(nn.Module):
    """Turn a stage's features into its image, and let the image gate what the next stage sees.

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


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend images to the right and below by their reflection, until their sides are multiples.

    Where an image is too small to be reflected its border is repeated. The caller cuts its result
    back to ``[..., :H, :W]``. MPRNet's test script pads alike.
    """
    height, width = image.shape[-2:]
    # No branch on the amount: a traced graph would keep that of the image it was traced with.
    below, right = -height % multiple, -width % multiple
    across = 'reflect' if right < width else 'replicate'
    down = 'reflect' if below < height else 'replicate'
    return F.pad(F.pad(image, (0, right, 0, 0), across), (0, 0, 0, below), down)
