"""Fourth step of the fast generator: from the tokens that survive to mask logits.

Logits first come at SAM's own low resolution and are resized to the image a few at a time. The two
resizings of the reference (to the encoder's input, padding cut off, to the image) are linear, so
their product is one small matrix for each axis. It has two or three entries in a row; blocks of
rows thus need few columns, which makes it a few small matrix products.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsamdistill.fast_sam.decode import DecodedPrompts
from mmsamdistill.fast_sam.encode import chunk_length

# Output pixels per block: small enough to skip most zeros, large enough for a fast product.
_BLOCK = 64


def mask_logits(
    decoder: nn.Module, grid: tuple[int, int], decoded: DecodedPrompts, keep: Tensor
) -> Tensor:
    """Low-resolution logits of the masks to ``keep``, ``(B, M)`` bool: ``(K, 4 h, 4 w)``."""
    prompts = keep.any(dim=1).nonzero()[:, 0]
    if len(prompts) == 0:
        return torch.zeros(0, 4 * grid[0], 4 * grid[1], device=keep.device)
    # The last features are 32 channels of 16 values for each pixel, and exist twice.
    num_pixels = grid[0] * grid[1]
    length = chunk_length(4096 * num_pixels, keep.device)
    return torch.cat(
        [
            _logits(decoder, grid, decoded.mask_tokens[chunk], decoded.pixels[chunk])[keep[chunk]]
            for chunk in prompts.split(length)
        ]
    )


def _logits(decoder: nn.Module, grid: tuple[int, int], tokens: Tensor, pixels: Tensor) -> Tensor:
    """Logits of all masks of some prompts: ``(B, M, 4 h, 4 w)`` float32."""
    networks = decoder.output_hypernetworks_mlps[1:]
    filters = [network(token) for network, token in zip(networks, tokens.unbind(1), strict=True)]
    features = _upscale(decoder.output_upscaling, pixels)
    logits = features.flatten(1, 2) @ torch.stack(filters, dim=-1)
    # Each pixel became 2 x 2, and each of those 2 x 2: sort them into rows and columns.
    height, width = grid
    logits = logits.view(len(tokens), height, width, 2, 2, 2, 2, -1).permute(0, 7, 1, 3, 5, 2, 4, 6)
    return logits.reshape(len(tokens), -1, 4 * height, 4 * width).float()


def _upscale(layers: nn.Sequential, pixels: Tensor) -> Tensor:
    """The decoder's two transposed convolutions on ``(B, N, C)``: ``(B, N, 16, c)``."""
    # With kernel and stride 2 outputs do not overlap: each is a linear layer with four outputs per
    # pixel, and the channels can stay last, where the normalisation wants them.
    first, norm, activation, second, last_activation = layers
    x = _expand(first, pixels)
    x = F.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias, norm.eps)
    x = last_activation(_expand(second, activation(x)))
    return x.flatten(2, 3)


def _expand(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """``(..., C)`` -> ``(..., 4, c)``."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return F.linear(x, weight, conv.bias.repeat(4)).unflatten(-1, (4, -1))


class MaskResizer:
    """Resize low-resolution logits as SAM does, in one step.

    Args:
        low_size: Height and width of the low-resolution logits.
        encoder_size: Side of the encoder's square input.
        input_size: Height and width of the resized image in it, without padding.
        size: Height and width of the image.
        device: Where the logits are.
    """

    def __init__(
        self,
        low_size: tuple[int, int],
        encoder_size: int,
        input_size: tuple[int, int],
        size: tuple[int, int],
        device: torch.device | str = 'cpu',
    ) -> None:
        self.size = size
        self._rows, self._columns = (
            _blocks(low_size[axis], encoder_size, input_size[axis], size[axis], str(device))
            for axis in (0, 1)
        )

    def __call__(self, logits: Tensor) -> Tensor:
        """Resize a batch of logits."""
        count, _, low_width = logits.shape
        height, width = self.size
        tall = logits.new_empty(count, height, low_width)
        for where, needed, weights in self._rows:
            tall[:, where] = weights @ logits[:, needed]
        tall = tall.view(-1, low_width)
        full = logits.new_empty(len(tall), width)
        for where, needed, weights in self._columns:
            torch.mm(tall[:, needed], weights.T, out=full[:, where])
        return full.view(count, height, width)


@lru_cache(maxsize=64)
def _blocks(
    low: int, padded: int, cropped: int, size: int, device: str
) -> list[tuple[slice, slice, Tensor]]:
    """Blocks of outputs, the inputs that they need, and the weights between them."""
    matrix = _resize_matrix(low, padded, cropped, size)
    blocks = []
    for start in range(0, size, _BLOCK):
        rows = matrix[start : start + _BLOCK]
        used = rows.ne(0).any(dim=0).nonzero()
        needed = slice(int(used[0]), int(used[-1]) + 1)
        weights = rows[:, needed].contiguous().to(device)
        blocks.append((slice(start, start + _BLOCK), needed, weights))
    return blocks


def _resize_matrix(low: int, padded: int, cropped: int, size: int) -> Tensor:
    """The reference's resizings of one axis, applied to the identity: ``(size, low)``."""
    matrix = torch.eye(low)[None, None]
    matrix = F.interpolate(matrix, (padded, low), mode='bilinear', align_corners=False)
    matrix = F.interpolate(matrix[:, :, :cropped], (size, low), mode='bilinear')
    return matrix[0, 0]
