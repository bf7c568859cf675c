"""Last step of the fast generator: duplicates out, then records or a label map."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmsamdistill.fast_sam.encode import chunk_length
from mmsamdistill.fast_sam.masks import (
    MaskSet,
    boxes_of_masks,
    pack_masks,
    unpack_masks,
)


def without_duplicates(masks: MaskSet, priority: Tensor, iou_threshold: float) -> MaskSet:
    """Keep the preferred one of masks whose boxes overlap."""
    return masks.select(_distinct(masks.boxes, priority, iou_threshold))


def _distinct(boxes: Tensor, priority: Tensor, iou_threshold: float) -> Tensor:
    """Positions of the boxes to keep, by falling priority."""
    from torchvision.ops.boxes import batched_nms

    one_class = torch.zeros(len(boxes), device=boxes.device)
    return batched_nms(boxes.float(), priority.to(boxes.device), one_class, iou_threshold)


def merge_crops(crops: list[MaskSet], iou_threshold: float) -> MaskSet:
    """All masks of an image, of duplicates the one from the smaller crop: a closer look."""
    masks = MaskSet.join(crops)
    if len(crops) == 1:
        return masks
    left, top, right, bottom = masks.crop_boxes.unbind(1)
    return without_duplicates(masks, 1 / ((right - left) * (bottom - top)), iou_threshold)


def without_small_regions(
    masks: MaskSet, width: int, min_area: int, iou_threshold: float
) -> MaskSet:
    """Fill small holes, drop small islands, and then the duplicates that this makes."""
    if len(masks) == 0:
        return masks
    cleaned = [
        _clean(unpack_masks(bits[None], width)[0].cpu().numpy(), min_area) for bits in masks.bits
    ]
    device = masks.bits.device
    packed = [pack_masks(torch.from_numpy(mask)[None]) for mask, _ in cleaned]
    boxes = [boxes_of_masks(torch.from_numpy(mask)[None]) for mask, _ in cleaned]
    boxes = torch.cat(boxes).to(device)
    changed = torch.tensor([changed for _, changed in cleaned], device=device)
    kept = _distinct(boxes, 1.0 - changed.float(), iou_threshold)
    # An empty mask from a crop has its box at the crop's corner, and as in the reference keeps it.
    boxes = torch.where(changed.unsqueeze(1), boxes, masks.boxes)
    return replace(masks, bits=torch.cat(packed).to(device), boxes=boxes).select(kept)


def _clean(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, bool]:
    from segment_anything.utils.amg import remove_small_regions

    mask, filled = remove_small_regions(mask, min_area, mode='holes')
    mask, erased = remove_small_regions(mask, min_area, mode='islands')
    return np.ascontiguousarray(mask), filled or erased


def to_records(masks: MaskSet, width: int, output_mode: str) -> list[dict[str, Any]]:
    """Describe masks as the reference, ``segment_anything``, does."""
    records = []
    boxes, crop_boxes = (_corner_and_size(part) for part in (masks.boxes, masks.crop_boxes))
    for index, bits in enumerate(masks.bits.unsqueeze(1)):
        mask = unpack_masks(bits, width)[0].cpu().numpy()
        records.append(
            {
                'segmentation': _segmentation(mask, output_mode),
                'area': int(np.count_nonzero(mask)),
                'bbox': boxes[index],
                'predicted_iou': masks.scores[index].item(),
                'point_coords': [masks.points[index].tolist()],
                'stability_score': masks.stability[index].item(),
                'crop_box': crop_boxes[index],
            }
        )
    return records


def _corner_and_size(boxes: Tensor) -> list[list[int]]:
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).tolist()


def _segmentation(mask: np.ndarray, output_mode: str) -> Any:
    if output_mode == 'binary_mask':
        return mask
    if output_mode == 'uncompressed_rle':
        return run_lengths(mask)
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'size': list(mask.shape), 'counts': encoded['counts'].decode('utf-8')}


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """Lengths of an ``(H, W)`` mask's runs as COCO has them: by columns, background first."""
    pixels = mask.T.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
    return {'size': list(mask.shape), 'counts': [0, *counts] if pixels[0] else counts}


def paint_labels(masks: MaskSet, width: int) -> Tensor:
    """Paint masks into a label map ``(H, W)`` on their device, large ones first."""
    height = masks.bits.shape[1]
    device = masks.bits.device
    length = chunk_length(16 * height * width, device)
    areas = [unpack_masks(bits, width).sum((1, 2)) for bits in masks.bits.split(length)]
    order = torch.cat(areas).argsort(descending=True, stable=True) if areas else []
    rank_on_top = torch.zeros(height, width, dtype=torch.int32, device=device)
    # Later in the order is on top: the highest rank wins, in any number at once.
    for start in range(0, len(masks), length):
        chunk = unpack_masks(masks.bits[order[start : start + length]], width)
        ranks = torch.arange(start + 1, start + 1 + len(chunk), dtype=torch.int32, device=device)
        on_top = torch.where(chunk, ranks.view(-1, 1, 1), 0).amax(0)
        rank_on_top = torch.maximum(rank_on_top, on_top)
    label_of_rank = torch.zeros(len(masks) + 1, dtype=torch.int32, device=device)
    if len(masks) > 0:
        label_of_rank[1:] = order.int() + 1
    return label_of_rank[rank_on_top.long()]
