"""Images of several kinds as stacks of colours, and back: PIL, NumPy, tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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
        white = _WHITES.get(image.dtype)
        values = torch.from_numpy(np.atleast_3d(image).astype(np.float32).transpose(2, 0, 1))[None]
    elif isinstance(image, Tensor):
        if image.ndim not in (3, 4):
            raise ValueError(
                f'a tensor of shape {tuple(image.shape)}: expected (C, H, W) or (N, C, H, W)'
            )
        # By name, since torch has uint16 since 2.3 only.
        white = {'torch.uint8': 255.0, 'torch.uint16': 65535.0}.get(str(image.dtype))
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
        result.info = dict(image.info)
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


def _unit_range(image: Any, values: Tensor) -> float:
    floats = image.dtype.kind == 'f' if isinstance(image, np.ndarray) else image.is_floating_point()
    if not floats:
        raise TypeError(f'an image of {image.dtype}: expected uint8, uint16 or floats in 0..1')
    largest = float(values.max()) if values.numel() else 0.0
    if not largest <= 2:
        raise ValueError(
            f'an image of {image.dtype} with values up to {largest:g}: divide by 255, or give uint8'
        )
    return 1.0


def _pil_array(image: Image.Image) -> np.ndarray:
    if image.mode.startswith('I;16'):
        return np.asarray(image).astype(np.uint16)
    mode = {'1': 'L', 'L': 'L', 'LA': 'LA', 'RGBA': 'RGBA', 'PA': 'RGBA'}.get(image.mode, 'RGB')
    if image.mode in ('F', 'I'):
        raise TypeError(f'a PIL image of mode {image.mode}: 8 bits and I;16 can be restored')
    if image.mode == 'P' and 'transparency' in image.info:
        mode = 'RGBA'
    return np.asarray(image.convert(mode))
