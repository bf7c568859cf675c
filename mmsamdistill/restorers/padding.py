"""Images of any size for networks that halve their resolution."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend an image to the right and below by its reflection, until its sides are multiples.

    An image of fitting size is returned with its values unchanged. Where the image is too small to
    be reflected, its border is repeated.

    Args:
        image: Images.
        multiple: What the sides must be divisible by, at least 1.

    Shape:
        - image: (N, C, H, W)
        - returns: (N, C, H', W'), H' and W' the next multiples

    Returns:
        The extended images; the caller cuts its result back to ``[..., :H, :W]``.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 4)[0, 0, 0].tolist()
        [1.0, 2.0, 3.0, 2.0]

    Source: ours; MPRNet's test script pads alike.
    """
    height, width = image.shape[-2:]
    # No branch on the amount: a traced graph would keep that of the image it was traced with.
    below, right = -height % multiple, -width % multiple
    across = 'reflect' if right < width else 'replicate'
    down = 'reflect' if below < height else 'replicate'
    return F.pad(F.pad(image, (0, right, 0, 0), across), (0, 0, 0, below), down)
