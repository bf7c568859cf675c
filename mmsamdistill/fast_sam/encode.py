"""First steps of the fast generator: what it refuses, crops and points, and the image encoder.

The reference holds the attention matrix of a block whole: 805 MB for each copy in the global blocks
of ViT-B, written and read several times. Here rows of it are made, used and forgotten while they
are in the cache. Windows that hang over the image's edge are padded after the projections rather
than before: what is projected there is zero anyway. Both only change the order of additions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

OUTPUT_MODES = ('binary_mask', 'uncompressed_rle', 'coco_rle')
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
# On a CPU a piece that stays in a core's caches is read back for little; a GPU wants large kernels,
# and its memory is the only limit.
_BYTES_AT_ONCE = {'cpu': 2**22, 'cuda': 2**30}


def chunk_length(bytes_per_item: int, device: torch.device | str) -> int:
    """How many items to process together, so that what is between them stays in the cache."""
    budget = _BYTES_AT_ONCE.get(torch.device(device).type, _BYTES_AT_ONCE['cuda'])
    return max(1, budget // bytes_per_item)


@dataclass(frozen=True)
class Crop:
    """A part of an image that SAM looks at on its own."""

    box: tuple[int, int, int, int]  # left, top, right and bottom edge in pixels of the image
    layer: int  # 0 for the whole image, then one more for each finer subdivision
    image_size: tuple[int, int]  # height and width of the whole image

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crop."""
        left, top, right, bottom = self.box
        return bottom - top, right - left

    @property
    def is_whole_image(self) -> bool:
        """Whether the crop leaves nothing out."""
        return self.size == self.image_size

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The crop's pixels of an ``(H, W, 3)`` image."""
        left, top, right, bottom = self.box
        return image[top:bottom, left:right]


def crops_of_image(image_size: tuple[int, int], num_layers: int, overlap: float) -> list[Crop]:
    """The whole image and its subdivisions, in the order of the reference."""
    from segment_anything.utils.amg import generate_crop_boxes

    boxes, layers = generate_crop_boxes(image_size, num_layers, overlap)
    return [Crop(tuple(box), layer, image_size) for box, layer in zip(boxes, layers, strict=True)]


def points_in_crop(crop: Crop, grids: list[np.ndarray]) -> np.ndarray:
    """Where a crop is prompted: ``(P, 2)``."""
    height, width = crop.size
    return grids[crop.layer] * np.array([[width, height]])


def check_model(model: nn.Module) -> None:
    """Refuse a model whose mask decoder is not SAM's."""
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


def check_options(given: Any) -> None:
    """Refuse options of a generator that cannot be meant."""
    if (given.points_per_side is None) == (given.point_grids is None):
        raise ValueError('give either points_per_side or point_grids, and None for the other')
    if given.point_grids is not None and len(given.point_grids) <= given.crop_n_layers:
        raise ValueError(
            f'{len(given.point_grids)} point_grids for crop_n_layers={given.crop_n_layers}: one '
            'for the whole image and one for each layer are needed'
        )
    for name, choices in (('output_mode', OUTPUT_MODES), ('dtype', _DTYPES)):
        value = getattr(given, name)
        if value not in choices:
            raise ValueError(f'{name} is {value}, must be one of {", ".join(map(str, choices))}')
    for name in ('points_per_batch', 'images_per_batch'):
        count = getattr(given, name)
        if not isinstance(count, int) or count < 1:
            raise ValueError(f'{name} is {count!r}, must be an integer of at least 1')


def check_image(image: np.ndarray) -> None:
    """Refuse what is not an ``(H, W, 3)`` image of 8 bits."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        given = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f'an image must be a uint8 array with values from 0 to 255, got {given}')
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'an image must be (H, W, 3), got {image.shape}')


def prepare_images(sam: nn.Module, images: list[np.ndarray]) -> tuple[Tensor, list]:
    """Resize to the encoder's long side, normalise, pad: ``(N, 3, S, S)``, and the sizes before."""
    from segment_anything.utils.transforms import ResizeLongestSide

    transform = ResizeLongestSide(sam.image_encoder.img_size)
    resized = [
        torch.as_tensor(transform.apply_image(image), device=sam.device).permute(2, 0, 1)
        for image in images
    ]
    batch = torch.cat([sam.preprocess(image.contiguous()[None]) for image in resized])
    return batch, [tuple(image.shape[-2:]) for image in resized]


def encode_images(encoder: nn.Module, images: Tensor) -> Tensor:
    """``(N, 3, S, S)`` -> embeddings ``(N, C, h, w)``."""
    from segment_anything.modeling import ImageEncoderViT

    # Subclasses may have changed what the parts mean.
    if type(encoder) is not ImageEncoderViT:
        return encoder(images)
    x = encoder.patch_embed(images)
    if encoder.pos_embed is not None:
        x = x + encoder.pos_embed
    for block in encoder.blocks:
        x = x + _attention(block.attn, block.norm1(x), block.window_size)
        x = x + block.mlp(block.norm2(x))
    return encoder.neck(x.permute(0, 3, 1, 2))


def _attention(attn: nn.Module, x: Tensor, window_size: int) -> Tensor:
    from segment_anything.modeling.image_encoder import window_partition, window_unpartition

    size = x.shape[1:3]
    x = F.linear(x, attn.qkv.weight)
    if window_size > 0:
        x, padded = window_partition(x, window_size)
    if attn.qkv.bias is not None:
        x = x + attn.qkv.bias.to(x.dtype)
    x = _attend(attn, x)
    if window_size > 0:
        x = window_unpartition(x, window_size, padded, size)
    return attn.proj(x)


def _attend(attn: nn.Module, qkv: Tensor) -> Tensor:
    windows, height, width, _ = qkv.shape
    # (3, windows * heads, pixels, channels per head)
    qkv = qkv.view(windows, height * width, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys, values = qkv.reshape(3, windows * attn.num_heads, height * width, -1)
    # Rows of the attention matrix are made, used and forgotten.
    bias = _relative_bias(attn, queries, (height, width)) if attn.use_rel_pos else None
    out = torch.empty_like(queries)
    for group, rows in _tiles(queries.shape[0], queries.shape[1], queries.device):
        scores = (queries[group, rows] * attn.scale) @ keys[group].transpose(-2, -1)
        if bias is not None:
            grid = scores.view(*scores.shape[:2], height, width)
            grid += bias[0][group, rows].unsqueeze(-1)
            grid += bias[1][group, rows].unsqueeze(-2)
        out[group, rows] = (scores.softmax(dim=-1) @ values[group]).to(out.dtype)
    out = out.view(windows, attn.num_heads, height, width, -1)
    return out.permute(0, 2, 3, 1, 4).reshape(windows, height, width, -1)


def _relative_bias(attn: nn.Module, queries: Tensor, size: tuple[int, int]) -> tuple:
    """What each query adds for every row and every column of keys: ``(G, N, h)``, ``(G, N, w)``."""
    from segment_anything.modeling.image_encoder import get_rel_pos

    height, width = size
    grid = queries.view(queries.shape[0], height, width, -1)
    rows = get_rel_pos(height, height, attn.rel_pos_h)
    columns = get_rel_pos(width, width, attn.rel_pos_w)
    by_row = torch.einsum('ghwc,hkc->ghwk', grid, rows)
    by_column = torch.einsum('ghwc,wkc->ghwk', grid, columns)
    return by_row.flatten(1, 2), by_column.flatten(1, 2)


def _tiles(groups: int, pixels: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Parts of the attention matrices: many whole small ones, or some rows of a large one."""
    rows = min(pixels, chunk_length(4 * pixels, device))
    together = chunk_length(4 * pixels * pixels, device)
    for group in range(0, groups, together):
        for row in range(0, pixels, rows):
            yield slice(group, group + together), slice(row, row + rows)
