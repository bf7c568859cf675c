"""From the restorer's own range of values to the one every pretrained network expects."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def to_unit_rgb(images: Tensor, data_preprocessor: nn.Module, data_samples: Any = None) -> Tensor:
    r"""Undo a restorer's normalisation: RGB in [0, 1], differentiable and not clamped.

    SAM, VGG and superpixels were made for photographs, a restorer works in whatever range and
    channel order its configuration chose. MMagic's own ``destruct`` clamps in place and cuts the
    padding off, which would end the gradient and the correspondence with the region map.

    .. math:: rgb = (images \cdot std + mean) / 255

    Args:
        images: Images as the restorer sees or returns them.
        data_preprocessor: The restorer's preprocessor; its ``mean`` and ``std`` are used where it
            normalises.
        data_samples: The batch's data samples; they record the channel order that the preprocessor
            produced. Without them the preprocessor's ``output_channel_order`` is taken, and BGR
            where that says nothing (MMagic's own assumption).

    Shape:
        - images: (N, 3, H, W) or (N, 1, H, W)
        - returns: (N, 3, H, W)

    Returns:
        RGB images; values lie in [0, 1] for in-range images.

    Raises:
        ValueError: If the images have neither one nor three channels.

    Example:
        >>> import torch
        >>> preprocessor = nn.Module()
        >>> preprocessor.output_channel_order = 'RGB'
        >>> to_unit_rgb(torch.full((1, 3, 2, 2), 255.0), preprocessor).max().item()
        1.0

    Source: ours.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f'expected images of shape (N, 3, H, W) or (N, 1, H, W), got {tuple(images.shape)}'
        )
    # `_enable_normalize` is MMEngine's own record of whether mean and std were given.
    if getattr(data_preprocessor, '_enable_normalize', False):
        mean = data_preprocessor.mean.view(1, -1, 1, 1)
        std = data_preprocessor.std.view(1, -1, 1, 1)
        images = images * std + mean
    images = images / 255.0
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if _channel_order(data_preprocessor, data_samples) == 'BGR':
        return images.flip(1)
    return images


def _channel_order(data_preprocessor: nn.Module, data_samples: Any) -> str:
    recorded = None
    if data_samples is not None:
        first = data_samples[0] if isinstance(data_samples, (list, tuple)) else data_samples
        recorded = first.metainfo.get('img_output_channel_order')
    if isinstance(recorded, (list, tuple)):  # stacked data samples keep one entry an image
        recorded = recorded[0]
    order = recorded or getattr(data_preprocessor, 'output_channel_order', None) or 'BGR'
    return order.upper()
