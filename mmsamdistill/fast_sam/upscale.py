"""Fifth step of the fast generator: the tokens that survive become logits.

Logits first come at SAM's own low resolution and are resized to the image a few at a time. The two
resizings of the reference (to the encoder's input, padding cut off, to the image) are linear, so
their product is one small matrix for each axis. It has two or three entries in a row; blocks of
rows thus need few columns, which makes it a few small matrix products.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsamdistill.fast_sam.decode import DecodedPrompts, PromptPixels
from mmsamdistill.fast_sam.encode import chunk_length
from mmsamdistill.fast_sam.share import SharedImage, matrix_of

# Output pixels per block: small enough to skip most zeros, large enough for a fast product.
_BLOCK = 64


def mask_logits(
    decoder: nn.Module,
    image: SharedImage,
    decoded: DecodedPrompts,
    keep: Tensor,
    grid: tuple[int, int],
) -> Tensor:
    """Low-resolution logits of the masks to ``keep``, ``(B, M)`` bool: ``(K, 4 h, 4 w)`` float32.

    ``grid`` is ``(h, w)``, the upper left part of the embedding that is wanted.
    """
    height, width = grid
    found = [torch.zeros(0, 4 * height, 4 * width, device=keep.device)]
    chunks = (x.tensor_split(len(decoded.pixels)) for x in (keep, decoded.mask_tokens))
    for pixels, kept, tokens in zip(decoded.pixels, *chunks, strict=True):
        # 1. Of prompts and of masks those that any other of this chunk wants.
        prompts, masks = kept.any(dim=1), kept.any(dim=0)
        if not bool(prompts.any()):
            continue
        wanted = pixels if bool(prompts.all()) else pixels.select(prompts)
        kept, tokens = kept[prompts][:, masks], tokens[prompts][:, masks]
        # 2. A token's network makes it a filter of the upscaled pixels.
        networks = decoder.output_hypernetworks_mlps[1:]
        networks = [network for network, used in zip(networks, masks, strict=True) if used]
        pairs = zip(networks, tokens.unbind(1), strict=True)
        filters = torch.stack([network(token) for network, token in pairs], dim=1)
        # 3. A few rows of pixels at a time, to stay in the cache.
        rows = chunk_length(16 * image.upscaled.shape[-1] * width * len(kept), keep.device)
        logits = [
            _logits(decoder, image, wanted, filters, slice(top, min(top + rows, height)), width)
            for top in range(0, height, rows)
        ]
        found.append(torch.cat(logits, dim=2)[kept])
    return torch.cat(found)


def _logits(
    decoder: nn.Module,
    image: SharedImage,
    pixels: PromptPixels,
    filters: Tensor,
    rows: slice,
    width: int,
) -> Tensor:
    """Logits ``(B, M, 4 h, 4 w)`` of some rows of the embedding, for filters ``(B, M, c)``."""
    # 1. The first transposed convolution, whose product with all pixels is known.
    grid = image.upscaled.shape[:2]
    x = image.upscaled[rows, :width].flatten(0, 1).expand(len(filters), -1, -1)
    for weights, parts in zip(pixels.weights, pixels.parts(image.upscaled_spreads), strict=True):
        seen = weights.unflatten(2, grid)[:, :, rows, :width].flatten(2)
        x = torch.baddbmm(x, seen.transpose(1, 2), parts)
    scale = pixels.scale.unflatten(2, grid)[:, :, rows, :width].flatten(2).transpose(1, 2)
    x = torch.addcmul(image.upscaled_constant, x.float(), scale)
    # 2. The rest of the upscaling. Channels stay last, where the normalisation wants them.
    _, norm, activation, second, last_activation = decoder.output_upscaling
    x = x.unflatten(-1, (4, -1))
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = last_activation(F.linear(x, *matrix_of(second)))
    logits = filters @ x.view(len(filters), -1, filters.shape[-1]).transpose(1, 2)
    # 3. Each pixel became 2 x 2, and each of those 2 x 2: sort them into rows and columns.
    logits = logits.float().view(*filters.shape[:2], -1, width, 2, 2, 2, 2)
    return logits.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)


class MaskResizer:
    """Resize low-resolution logits as SAM does, in one step.

    Args:
        grid: Height and width of the embedding; logits have four times as many rows and columns.
        encoder_size: Side of the encoder's square input.
        input_size: Height and width of the resized image in it, without padding.
        size: Height and width of the image.
        device: Where the logits are.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        encoder_size: int,
        input_size: tuple[int, int],
        size: tuple[int, int],
        device: torch.device | str = 'cpu',
    ) -> None:
        self.size = size
        self._rows, self._columns = (
            _blocks(4 * grid[axis], encoder_size, input_size[axis], size[axis], str(device))
            for axis in (0, 1)
        )
        # The part of the embedding that the image needs: the rest is padding.
        self.grid = tuple(
            -(-max(needed.stop for _, needed, _ in blocks) // 4)
            for blocks in (self._rows, self._columns)
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
