"""How much of the exact result an inexact one keeps: measured, never assumed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsamdistill.regions.masks import masks_to_labels


def agreement(exact: list[dict[str, Any]], fast: list[dict[str, Any]]) -> dict[str, float]:
    """Compare two sets of masks of the same image."""
    left, right = _stack(exact), _stack(fast)
    best = _best_iou(left, right)
    return {
        'exact_masks': float(len(left)),
        'fast_masks': float(len(right)),
        'mask_iou': float(best.mean()) if best.size else float(len(right) == 0),
        'worst_mask_iou': float(best.min()) if best.size else float(len(right) == 0),
        'label_agreement': _label_agreement(left, right),
    }


def label_agreement(exact: np.ndarray, fast: np.ndarray) -> float:
    """Fraction of pixels on which two label maps agree, whatever their numbers."""
    _, rows = np.unique(exact, return_inverse=True)
    _, columns = np.unique(fast, return_inverse=True)
    width = int(columns.max()) + 1
    pairs, shared = np.unique(rows.ravel() * width + columns.ravel(), return_counts=True)
    order = np.argsort(-shared, kind='stable')
    taken_rows, taken_columns, agreed = set(), set(), 0
    for pair, count in zip(pairs[order].tolist(), shared[order].tolist(), strict=True):
        row, column = divmod(pair, width)
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            agreed += count
    return agreed / exact.size


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
