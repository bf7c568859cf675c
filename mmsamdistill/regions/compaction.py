"""Renumbering of arbitrary labels, the step every region operation starts with."""

from typing import NamedTuple

import torch
from torch import Tensor

# Counting tables are used up to this many entries per pixel; wider label ranges are sorted first.
_ENTRIES_PER_PIXEL = 4
_SMALL_TABLE = 1 << 16


class _CompactLabels(NamedTuple):
    """Labels renumbered over a batch; of each region its image and its number of pixels."""

    ids: Tensor
    image_index: Tensor
    counts: Tensor


def compact_over_batch(labels: Tensor) -> _CompactLabels:
    """Renumber label maps ``(N, H, W)`` so that every region of the batch has its own number.

    Numbers ``1..K`` are given in the order of the images, within an image in the order of the
    labels, with a counting table, so the cost is linear in pixels.
    """
    labels = _check_labels(labels)
    num_images, pixels = labels.shape[0], labels.numel()
    if pixels == 0:
        empty = labels.new_zeros(0)
        return _CompactLabels(labels, empty, empty)
    low, high = (int(bound) for bound in torch.aminmax(labels))
    if low < 0:
        raise ValueError(f'labels must be at least 0 (0 is "no region"), got {low}')
    # Only labels that are sparse over a wide range, such as hashes, are sorted first.
    if num_images * (high + 1) > max(_ENTRIES_PER_PIXEL * pixels, _SMALL_TABLE):
        labels = torch.stack([_rank_by_sorting(image) for image in labels])
        high = int(labels.max())
    return _compact_by_counting(labels, high + 1)


def _check_labels(labels: Tensor) -> Tensor:
    """Refuse what is not a batch of label maps ``(N, H, W)``, and return it as int64."""
    if not isinstance(labels, Tensor):
        raise TypeError(f'label maps must be a torch.Tensor, got {type(labels).__name__}')
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f'label maps must have an integer dtype, got {labels.dtype}')
    if labels.dim() != 3:
        raise ValueError(f'label maps must be (N, H, W), got {tuple(labels.shape)}')
    return labels.to(torch.int64)


def _rank_by_sorting(image: Tensor) -> Tensor:
    """Replace each label by its rank among the image's labels; 0 stays 0."""
    values, ranks = torch.unique(image, return_inverse=True)
    # Without a pixel in no region, rank 0 would be taken for the background.
    return ranks + (values[0] != 0)


def _compact_by_counting(labels: Tensor, span: int) -> _CompactLabels:
    # 1. Labels of different images become different, and are counted.
    num_images = labels.shape[0]
    offsets = torch.arange(num_images, device=labels.device).view(-1, 1, 1) * span
    keys = (labels + offsets).flatten()
    table = torch.bincount(keys, minlength=num_images * span).view(num_images, span)
    table[:, 0] = 0  # pixels in no region
    found = table > 0
    # 2. Those that occur are numbered in their order.
    numbers = found.flatten().cumsum(0).mul_(found.flatten())
    image_index = found.nonzero()[:, 0]
    return _CompactLabels(numbers[keys].view_as(labels), image_index, table[found])
