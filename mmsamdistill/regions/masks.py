"""Between binary masks and label maps, and label maps without gaps."""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mmsamdistill.regions.compaction import compact_over_batch

Labels = TypeVar('Labels', Tensor, np.ndarray)


def compact_labels(labels: Labels) -> Labels:
    """Renumber the labels of each image to ``1..K_i`` without gaps; 0 stays 0.

    After a crop most labels of a map are gone; tables indexed by label should not pay for them.

    Args:
        labels: Label maps ``(H, W)`` or ``(N, H, W)``, any integer dtype, at least 0.

    Returns:
        The renumbered labels: same shape, same dtype, tensor or array as given. The order of the
        labels is kept.

    Raises:
        TypeError: If the labels are not integers.
        ValueError: If there is a negative label or another number of dimensions.

    Example:
        >>> compact_labels(torch.tensor([[0, 9, 4, 9]])).tolist()
        [[0, 2, 1, 2]]
    """
    if isinstance(labels, np.ndarray):
        return compact_labels(_array_to_tensor(labels)).numpy().astype(labels.dtype)
    if labels.dim() == 2:
        return compact_labels(labels.unsqueeze(0))[0]
    ids, image_index, _ = compact_over_batch(labels)
    per_image = torch.bincount(image_index, minlength=labels.shape[0])
    before = (per_image.cumsum(0) - per_image).view(-1, 1, 1)
    return torch.where(ids > 0, ids - before, ids).to(labels.dtype)


def masks_to_labels(masks: Labels) -> Labels:
    """Paint overlapping masks into one label map, large ones first.

    A small mask inside of a large one stays visible this way: the wheel on the car. Masks of equal
    area are painted in the order given. Empty masks and masks that later ones cover wholly leave
    no label behind.

    Args:
        masks: Binary masks ``(M, H, W)``, M may be 0; anything non-zero is inside.

    Returns:
        ``(H, W)`` labels: ``m + 1`` where mask ``m`` is on top, 0 outside of all. An int64 tensor
        for a tensor, an int32 array for an array.

    Raises:
        ValueError: If the masks are not three-dimensional.

    Example:
        >>> masks_to_labels(torch.tensor([[[0, 1, 0]], [[1, 1, 1]]])).tolist()
        [[2, 1, 2]]
    """
    if isinstance(masks, np.ndarray):
        return masks_to_labels(torch.from_numpy(masks != 0)).numpy().astype(np.int32)
    if masks.dim() != 3:
        raise ValueError(f'masks must be (M, H, W), got {tuple(masks.shape)}')
    inside = masks != 0
    areas = inside.flatten(1).sum(1)
    labels = torch.zeros(masks.shape[1:], dtype=torch.int64, device=masks.device)
    for index in areas.argsort(descending=True, stable=True).tolist():
        labels.masked_fill_(inside[index], index + 1)
    return labels


def labels_to_masks(labels: Labels) -> Labels:
    """One binary mask per label of a map.

    For export and drawing; computations use :class:`RegionMap`, which needs no masks.

    Args:
        labels: One label map ``(H, W)``, any integer dtype, at least 0; 0 is "no region".

    Returns:
        The masks ``(K, H, W)`` bool in ascending order of label, tensor or array as given.

    Raises:
        TypeError: If the labels are not integers.
        ValueError: If there is a negative label or the map is not two-dimensional.

    Example:
        >>> labels_to_masks(torch.tensor([[7, 0, 3]])).int().tolist()
        [[[0, 0, 1]], [[1, 0, 0]]]
    """
    if isinstance(labels, np.ndarray):
        return labels_to_masks(_array_to_tensor(labels)).numpy()
    if labels.dim() != 2:
        raise ValueError(f'a label map must be (H, W), got {tuple(labels.shape)}')
    ids, image_index, _ = compact_over_batch(labels.unsqueeze(0))
    numbers = torch.arange(1, image_index.numel() + 1, device=labels.device)
    return ids == numbers.view(-1, 1, 1)


def _array_to_tensor(labels: np.ndarray) -> Tensor:
    if labels.dtype.kind not in 'iub':
        raise TypeError(f'label maps must have an integer dtype, got {labels.dtype}')
    # Older torch cannot take uint16 arrays as they are.
    return torch.from_numpy(labels.astype(np.int64))
