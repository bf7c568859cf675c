"""Second step of the fast generator: the image encoder, with less memory traffic.

The reference holds the attention matrix of a block whole: 805 MB for each copy in the global blocks
of ViT-B, written and read several times. Here rows of it are made, used and forgotten while they
are in the cache. Windows that hang over the image's edge are padded after the projections rather
than before: what is projected there is zero anyway. Both only change the order of additions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsamdistill.fast_sam.inputs import chunk_length


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
