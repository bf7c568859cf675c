"""How much of the exact result an inexact generator keeps: measured, never assumed."""

from typing import Any

import numpy as np

from mmsamdistill.regions.agreement import label_agreement
from mmsamdistill.regions.masks import masks_to_labels


def agreement(exact: list[dict[str, Any]], fast: list[dict[str, Any]]) -> dict[str, float]:
    """Compare two sets of masks of the same image.

    Counts of both sides; mean and least IoU of the exact masks with their best fast one; and the
    ``label_agreement``, in which being outside of all masks counts as a region. Masks are compared
    as a set, since a score that moves by a little changes the order.
    """
    left, right = _stack(exact), _stack(fast)
    best = _best_iou(left, right)
    return {
        'exact_masks': float(len(left)),
        'fast_masks': float(len(right)),
        'mask_iou': float(best.mean()) if best.size else float(len(right) == 0),
        'worst_mask_iou': float(best.min()) if best.size else float(len(right) == 0),
        'label_agreement': _label_agreement(left, right),
    }


def _stack(records: list[dict[str, Any]]) -> np.ndarray:
    masks = [record['segmentation'] for record in records]
    if any(isinstance(mask, dict) for mask in masks):
        raise ValueError("agreement needs records made with output_mode='binary_mask'")
    return np.stack(masks) if masks else np.zeros((0, 0, 0), dtype=bool)


def _best_iou(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    if len(left) == 0 or len(right) == 0:
        return np.zeros(len(left))
    # In float32 a product of masks counts pixels exactly up to 16 million.
    left, right = (masks.reshape(len(masks), -1).astype(np.float32) for masks in (left, right))
    shared = left @ right.T
    union = left.sum(1)[:, None] + right.sum(1)[None, :] - shared
    return np.where(union > 0, shared / np.maximum(union, 1), 1.0).max(axis=1)


def _label_agreement(left: np.ndarray, right: np.ndarray) -> float:
    size = max(left.shape[1:], right.shape[1:])
    maps = [
        masks_to_labels(masks) if len(masks) else np.zeros(size, dtype=np.int32)
        for masks in (left, right)
    ]
    return label_agreement(*maps) if maps[0].size else 1.0
