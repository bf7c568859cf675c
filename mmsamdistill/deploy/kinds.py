"""Images of several kinds as stacks of colours, and back: PIL, NumPy, tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_NOT_RGB = ('CMYK', 'LAB')
_WHITES = {np.dtype('uint8'): 255.0, np.dtype('uint16'): 65535.0}


@dataclass
class Levels:
    """An image's colours apart from its transparency."""

    colours: Tensor  # (N, C, H, W) float32, in the image's own range
    alpha: Tensor | None  # (N, 1, H, W) of the same, or None
    white: float  # the range's end


def describe(levels: Levels) -> tuple:
    """What images that are restored together have in common."""
    return tuple(levels.colours.shape[1:]), levels.white


def to_levels(image: Any, channels: int, order: str = 'rgb') -> Levels:
    """Take an image apart."""
    if isinstance(image, Image.Image):
        image, order = _pil_array(image), 'rgb'
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise ValueError(f'an array of shape {image.shape}: expected (H, W) or (H, W, C)')
        white = _WHITES.get(image.dtype.newbyteorder('='))
        _require_levels(image, white, image.dtype.kind == 'f')
        values = torch.from_numpy(np.atleast_3d(image).astype(np.float32).transpose(2, 0, 1))[None]
    elif isinstance(image, Tensor):
        if image.ndim not in (3, 4):
            raise ValueError(
                f'a tensor of shape {tuple(image.shape)}: expected (C, H, W) or (N, C, H, W)'
            )
        # By name, since torch has uint16 since 2.3 only.
        white = {'torch.uint8': 255.0, 'torch.uint16': 65535.0}.get(str(image.dtype))
        _require_levels(image, white, image.is_floating_point())
        values = image.detach().cpu().float().reshape(-1, *image.shape[-3:])
    else:
        raise TypeError(
            f'{type(image).__name__} is no image: give a PIL image, a NumPy array or a tensor'
        )
    white = white or _unit_range(image, values)
    if not values.numel():
        raise ValueError(f'an image of shape {tuple(image.shape)} has no pixels')
    return _apart(values, channels, order, white)


def from_levels(image: Any, source: Levels, restored: Tensor, order: str = 'rgb') -> Any:
    """Put an image of the same kind, type and shape together."""
    order = 'rgb' if isinstance(image, Image.Image) else order
    values = restored.clamp(0, source.white)
    if order == 'bgr' and values.shape[1] == 3:
        values = values.flip(1)
    if source.alpha is not None:
        values = torch.cat([values, source.alpha], dim=1)
    if isinstance(image, Tensor):
        rounded = values if image.is_floating_point() else values.round()
        return rounded.reshape(image.shape).to(image.device, image.dtype)
    pixels = values[0].permute(1, 2, 0).numpy()
    if isinstance(image, Image.Image):
        deep = source.white > 255
        pixels = pixels.round().astype(np.uint16 if deep else np.uint8)
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        result = Image.fromarray(pixels)
        # The transparent colour is a channel now, and CMYK's profile is not RGB's.
        lost = ('transparency', 'icc_profile') if image.mode in _NOT_RGB else ('transparency',)
        result.info = {key: value for key, value in image.info.items() if key not in lost}
        return result
    pixels = pixels if image.dtype.kind == 'f' else pixels.round()
    return pixels.reshape(image.shape).astype(image.dtype)


def _apart(values: Tensor, channels: int, order: str, white: float) -> Levels:
    given, alpha = values.shape[1], None
    if given != channels and given in (2, 4):
        values, alpha = values[:, :-1], values[:, -1:]
    if values.shape[1] not in (1, channels) and channels != 1:
        raise ValueError(f'an image of {given} channels: this restorer has {channels}')
    if order == 'bgr' and values.shape[1] == 3:
        values = values.flip(1)
    return Levels(values, alpha, white)


def _require_levels(image: Any, white: float | None, floats: bool) -> None:
    if not (white or floats):
        raise TypeError(f'an image of {image.dtype}: expected uint8, uint16 or floats in 0..1')


def _unit_range(image: Any, values: Tensor) -> float:
    smallest, largest = (float(each) for each in values.aminmax()) if values.numel() else (0, 0)
    # A little outside is what networks give; not a number compares as neither.
    if not (smallest >= -0.5 and largest <= 2):
        raise ValueError(
            f'an image of {image.dtype} with values from {smallest:g} to {largest:g}: expected '
            '0..1; divide by 255, or give uint8'
        )
    return 1.0


def pillow_bytes(image: Image.Image) -> np.ndarray:
    """An image of up to 8 bits as (H, W, C), whatever is transparent as the last channel."""
    modes = {'1': 'L', 'L': 'L', 'LA': 'LA', 'La': 'LA', 'RGBA': 'RGBA', 'RGBa': 'RGBA'}
    mode = modes.get(image.mode, 'RGB')
    if 'transparency' in image.info or image.mode == 'PA':
        mode = {'L': 'LA', 'RGB': 'RGBA'}.get(mode, mode)
    return np.atleast_3d(np.asarray(image.convert(mode)))


def _pil_array(image: Image.Image) -> np.ndarray:
    if image.mode in ('F', 'I') or (image.mode[0] == 'I' and 'transparency' in image.info):
        raise TypeError(
            f'a PIL image of mode {image.mode}: 8 bits, and I;16 without a transparent level, can '
            'be restored; give an array'
        )
    if image.mode.startswith('I;16'):
        return np.asarray(image).astype(np.uint16)
    return pillow_bytes(image)
