"""Refusals of the fast generator: a model that it cannot take apart, options that make no sense."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from mmsamdistill.fast_sam.results import OUTPUT_MODES

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Parts that are computed with, by the path at which a compatible model has them.
_PARTS = (
    'image_encoder.img_size',
    'prompt_encoder.no_mask_embed.weight',
    'prompt_encoder.get_dense_pe',
    'mask_decoder.iou_token.weight',
    'mask_decoder.mask_tokens.weight',
    'mask_decoder.iou_prediction_head',
    'mask_decoder.output_hypernetworks_mlps',
    'mask_decoder.output_upscaling',
    'mask_decoder.num_mask_tokens',
    'mask_decoder.transformer.layers',
    'mask_decoder.transformer.final_attn_token_to_image.k_proj',
    'mask_decoder.transformer.norm_final_attn',
    'mask_threshold',
    'image_format',
    'preprocess',
)


def check_model(model: nn.Module) -> None:
    """Refuse a model whose mask decoder is not SAM's.

    Example:
        >>> check_model(nn.Linear(1, 1))
        Traceback (most recent call last):
        TypeError: Linear has no image_encoder.img_size: expected a Sam of segment_anything or ...
    """
    advice = 'expected a Sam of segment_anything or a model built of the same parts'
    for path in _PARTS:
        part: Any = model
        for name in path.split('.'):
            part = getattr(part, name, None)
        if part is None:
            raise TypeError(f'{type(model).__name__} has no {path}: {advice}')
    kinds = [type(layer).__name__ for layer in model.mask_decoder.output_upscaling]
    convs = [layer for layer in model.mask_decoder.output_upscaling if hasattr(layer, 'stride')]
    plain = [conv.kernel_size == conv.stride == (2, 2) for conv in convs]
    if len(kinds) != 5 or kinds[0] != 'ConvTranspose2d' or kinds[3] != kinds[0] or not all(plain):
        raise TypeError(f'mask_decoder.output_upscaling is {kinds}: {advice}')


def check_options(
    points_per_side: int | None,
    point_grids: list[np.ndarray] | None,
    crop_n_layers: int,
    output_mode: str,
    dtype: torch.dtype,
) -> None:
    """Refuse options that the generator cannot mean.

    Example:
        >>> check_options(32, None, 0, 'png', torch.float32)
        Traceback (most recent call last):
        ValueError: output_mode is 'png', must be one of binary_mask, uncompressed_rle, coco_rle
    """
    if (points_per_side is None) == (point_grids is None):
        raise ValueError('give either points_per_side or point_grids, and None for the other')
    if point_grids is not None and len(point_grids) <= crop_n_layers:
        raise ValueError(
            f'{len(point_grids)} point_grids for crop_n_layers={crop_n_layers}: one for the whole '
            'image and one for each layer are needed'
        )
    if output_mode not in OUTPUT_MODES:
        raise ValueError(
            f'output_mode is {output_mode!r}, must be one of {", ".join(OUTPUT_MODES)}'
        )
    if dtype not in _DTYPES:
        raise ValueError(f'dtype is {dtype}, must be one of {", ".join(map(str, _DTYPES))}')


def check_image(image: np.ndarray) -> None:
    """Refuse what is not an 8-bit RGB image.

    Example:
        >>> check_image(np.zeros((4, 4), np.uint8))
        Traceback (most recent call last):
        ValueError: an image must be (H, W, 3), got (4, 4)
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        given = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f'an image must be a uint8 array with values from 0 to 255, got {given}')
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'an image must be (H, W, 3), got {image.shape}')


def check_counts(**counts: int) -> None:
    """Refuse batch sizes below one.

    Example:
        >>> check_counts(points_per_batch=0)
        Traceback (most recent call last):
        ValueError: points_per_batch is 0, must be an integer of at least 1
    """
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f'{name} is {count!r}, must be an integer of at least 1')
