"""From the restorer's own range of values to the one every pretrained network expects."""

from typing import Any

import torch
from torch import Tensor, nn

from mmsamdistill.value_range import value_range


def to_unit_rgb(images: Tensor, data_preprocessor: nn.Module, data_samples: Any = None) -> Tensor:
    r"""Undo a restorer's normalisation: RGB (N, 3, H, W) in [0, 1], differentiable, not clamped.

    SAM, VGG and superpixels were made for photographs, a restorer works in whatever range and
    channel order its configuration chose. MMagic's own ``destruct`` clamps in place and cuts the
    padding off, which would end the gradient and the correspondence with the region map.

    .. math:: rgb = (images \cdot std + mean) / white
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f'expected images of shape (N, 3, H, W) or (N, 1, H, W), got {tuple(images.shape)}'
        )
    if _normalises(data_preprocessor):
        mean = data_preprocessor.mean.view(1, -1, 1, 1)
        std = data_preprocessor.std.view(1, -1, 1, 1)
        images = images * std + mean
    images = images / value_range(data_preprocessor)
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if _channel_order(data_preprocessor, data_samples) == 'BGR':
        return images.flip(1)
    return images


def span_of(data_preprocessor: nn.Module) -> float:
    """Tell the distance from black to white in the restorer's own range of values."""
    white = value_range(data_preprocessor)
    return white / data_preprocessor.std.mean().item() if _normalises(data_preprocessor) else white


@torch.no_grad()
def logged_psnr(truth: Tensor, data_preprocessor: nn.Module, **images: Tensor) -> dict[str, Tensor]:
    """Measure PSNR in dB of images by name for the log; nothing of a batch without any image."""
    if not len(truth):
        return {}
    # Channel order does not matter to an error, so the data samples are not asked for it.
    wanted = to_unit_rgb(truth.float(), data_preprocessor)
    psnr = {}
    for name, image in images.items():
        error = (to_unit_rgb(image.float(), data_preprocessor) - wanted).square().mean()
        psnr[f'psnr_{name}'] = -10 * error.clamp_min(1e-10).log10()
    return psnr


def _normalises(data_preprocessor: nn.Module) -> bool:
    # MMEngine's own record of whether mean and std were given.
    return getattr(data_preprocessor, '_enable_normalize', False)


def _channel_order(data_preprocessor: nn.Module, data_samples: Any) -> str:
    # The data samples record what the preprocessor produced; where nothing is said, BGR is MMagic's
    # own assumption.
    recorded = None
    if data_samples is not None:
        first = data_samples[0] if isinstance(data_samples, (list, tuple)) else data_samples
        recorded = first.metainfo.get('img_output_channel_order')
    if isinstance(recorded, (list, tuple)):  # stacked data samples keep one entry an image
        recorded = recorded[0]
    order = recorded or getattr(data_preprocessor, 'output_channel_order', None) or 'BGR'
    return order.upper()
