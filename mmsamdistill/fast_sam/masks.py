"""Sixth step of the fast generator: logits become masks and boxes, and poor ones are dropped."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from mmsamdistill.fast_sam.encode import Crop, chunk_length

# Multiplied with eight bytes of 0 or 1, read as one integer, it gathers them in the highest byte:
# byte i is shifted to bit 56 + i, and nothing else reaches or carries into bits 56 to 63.
_GATHER_BITS = 0x0102040810204080


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

    def select(self, index: Tensor) -> 'MaskSet':
        """The masks at ``index``, a bool mask or positions in the wanted order."""
        return MaskSet(*(getattr(self, field.name)[index] for field in fields(self)))

    @staticmethod
    def join(parts: 'list[MaskSet]') -> 'MaskSet':
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
