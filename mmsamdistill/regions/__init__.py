"""The region map, and every operation on it: torch alone, linear in pixels."""

from mmsamdistill.regions.region_map import (
    RegionMap,
    RegionMembership,
    compact_labels,
    labels_to_masks,
    masks_to_labels,
)

__all__ = [
    'RegionMap',
    'RegionMembership',
    'compact_labels',
    'labels_to_masks',
    'masks_to_labels',
]
