"""Images of any size for networks that halve their resolution."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend images to the right and below by their reflection, until their sides are multiples."""
    height, width = image.shape[-2:]
    # No branch on the amount: a traced graph would keep that of the image it was traced with.
    below, right = -height % multiple, -width % multiple
    across = 'reflect' if right < width else 'replicate'
    down = 'reflect' if below < height else 'replicate'
    return F.pad(F.pad(image, (0, right, 0, 0), across), (0, 0, 0, below), down)
