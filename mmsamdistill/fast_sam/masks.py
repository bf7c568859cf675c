"""Fifth step of the fast generator: the tokens that survive become logits, boxes and masks.

Logits first come at SAM's own low resolution and are resized to the image a few at a time. The two
resizings of the reference (to the encoder's input, padding cut off, to the image) are linear, so
their product is one small matrix for each axis. It has two or three entries in a row; blocks of
rows thus need few columns, which makes it a few small matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsamdistill.fast_sam.decode import DecodedPrompts, PromptPixels
from mmsamdistill.fast_sam.encode import Crop, chunk_length
from mmsamdistill.fast_sam.share import SharedImage, matrix_of

# Multiplied with eight bytes of 0 or 1, read as one integer, it gathers them in the highest byte:
# byte i is shifted to bit 56 + i, and nothing else reaches or carries into bits 56 to 63.
_GATHER_BITS = 0x0102040810204080
# Output pixels per block: small enough to skip most zeros, large enough for a fast product.
_BLOCK = 64


@dataclass(frozen=True)
class MaskSet:
    """Masks of one image and what is known about each.

    They are held as bits, an eighth of a bool tensor: hundreds wait for each other until duplicates
    can be told.
    """

    bits: Tensor  # (K, H, ceil(W / 8)) uint8, in the frame of the whole image
    boxes: Tensor  # (K, 4) left, top, right, bottom, last pixel included; zeros for empty masks
    scores: Tensor  # (K,) predicted IoU
    stability: Tensor  # (K,) stability score
    points: Tensor  # (K, 2) float64, the prompt in pixels of the image
    crop_boxes: Tensor  # (K, 4), the crop that was looked at

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: Tensor) -> MaskSet:
        """The masks at ``index``, a bool mask or positions in the wanted order."""
        return MaskSet(*(getattr(self, field.name)[index] for field in fields(self)))

    @staticmethod
    def join(parts: list[MaskSet]) -> MaskSet:
        """All masks of several sets of the same image, in order."""
        return MaskSet(
            *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(MaskSet))
        )


@dataclass(frozen=True)
class MaskRules:
    """Which masks of a crop are kept."""

    score_threshold: float  # least predicted IoU, not included; at or below 0 nothing is dropped
    stability_threshold: float  # least stability score, included; at or below 0 nothing is dropped
    stability_offset: float  # by how much the cutoff is moved up and down for the stability score
    mask_threshold: float  # cutoff of the logits

    def good_scores(self, scores: Tensor) -> Tensor:
        """Which masks are worth computing, by predicted IoU."""
        if self.score_threshold > 0.0:
            return scores > self.score_threshold
        return torch.ones_like(scores, dtype=torch.bool)

    def stability(self, logits: Tensor) -> Tensor:
        """IoU of the masks at the raised and at the lowered cutoff, ``(K,)``."""
        # As in the reference, NaN for a mask that is empty at both.
        inside, around = (
            (logits > self.mask_threshold + offset)
            .sum(-1, dtype=torch.int16)
            .sum(-1, dtype=torch.int32)
            for offset in (self.stability_offset, -self.stability_offset)
        )
        return inside / around

    def stable(self, stability: Tensor) -> Tensor:
        """Which masks are stable enough."""
        if self.stability_threshold > 0.0:
            return stability >= self.stability_threshold
        return torch.ones_like(stability, dtype=torch.bool)


def find_masks(
    logits: Tensor,
    resize: Callable[[Tensor], Tensor],
    rules: MaskRules,
    crop: Crop,
    scores: Tensor,
    points: Tensor,
) -> MaskSet:
    """Resize logits ``(K, h, w)``, threshold, and drop what is unstable or cut off by the crop."""
    height, width = crop.size
    length = chunk_length(8 * height * width, logits.device)
    parts = [
        _find_in_chunk(resize(chunk), rules, crop, chunk_scores, chunk_points)
        for chunk, chunk_scores, chunk_points in zip(
            logits.split(length), scores.split(length), points.split(length), strict=True
        )
    ]
    return MaskSet.join(parts)


def no_masks(image_size: tuple[int, int], device: torch.device) -> MaskSet:
    """A set without any mask."""
    height, width = image_size
    return MaskSet(
        bits=torch.zeros(0, height, -(-width // 8), dtype=torch.uint8, device=device),
        boxes=torch.zeros(0, 4, dtype=torch.int64, device=device),
        scores=torch.zeros(0, device=device),
        stability=torch.zeros(0, device=device),
        points=torch.zeros(0, 2, dtype=torch.float64, device=device),
        crop_boxes=torch.zeros(0, 4, dtype=torch.int64, device=device),
    )


def _find_in_chunk(
    logits: Tensor, rules: MaskRules, crop: Crop, scores: Tensor, points: Tensor
) -> MaskSet:
    from segment_anything.utils.amg import is_box_near_crop_edge, uncrop_boxes_xyxy

    # 1. Drop what is unstable.
    stability = rules.stability(logits)
    keep = rules.stable(stability)
    masks = (logits if bool(keep.all()) else logits[keep]) > rules.mask_threshold
    boxes = boxes_of_masks(masks)
    # 2. Drop what a crop cuts off, unless the image's edge does.
    height, width = crop.image_size
    whole = ~is_box_near_crop_edge(boxes, crop.box, [0, 0, width, height])
    # 3. From the crop's frame into the image's.
    left, top, right, bottom = crop.box
    if not crop.is_whole_image:
        masks = F.pad(masks[whole], (left, width - right, top, height - bottom))
    elif not bool(whole.all()):
        masks = masks[whole]
    kept = keep.nonzero()[:, 0][whole]
    return MaskSet(
        bits=pack_masks(masks),
        boxes=uncrop_boxes_xyxy(boxes[whole], crop.box),
        scores=scores[kept],
        stability=stability[kept],
        points=points[kept] + points.new_tensor([left, top]),
        crop_boxes=boxes.new_tensor(crop.box).expand(len(kept), 4),
    )


def boxes_of_masks(masks: Tensor) -> Tensor:
    """Boxes around binary masks: ``(K, H, W)`` -> ``(K, 4)``, zeros for empty ones."""
    masks = masks.view(torch.uint8)
    (left, right), (top, bottom) = (_extent(masks.amax(axis)) for axis in (1, 2))
    boxes = torch.stack([left, top, right, bottom], dim=-1)
    return boxes * masks.amax((1, 2)).unsqueeze(-1)


def _extent(used: Tensor) -> tuple[Tensor, Tensor]:
    """First and last position that is used, of each row."""
    return used.argmax(-1), used.shape[-1] - 1 - used.flip(-1).argmax(-1)


def pack_masks(masks: Tensor) -> Tensor:
    """``(K, H, W)`` bool -> ``(K, H, ceil(W / 8))``, eight pixels of a row to a byte."""
    masks = F.pad(masks, (0, -masks.shape[-1] % 8))
    count, height, width = masks.shape
    bits = (masks.flatten().view(torch.int64) * _GATHER_BITS) >> 56
    return bits.to(torch.uint8).view(count, height, width // 8)


def unpack_masks(bits: Tensor, width: int) -> Tensor:
    """Undo :func:`pack_masks`."""
    values = 2 ** torch.arange(8, dtype=torch.uint8, device=bits.device)
    return (bits.unsqueeze(-1) & values).ne(0).flatten(-2)[..., :width]


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
