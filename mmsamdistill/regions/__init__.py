"""The region map, and every operation on it: torch alone, linear in pixels."""

from mmsamdistill.regions.masks import compact_labels, labels_to_masks, masks_to_labels
from mmsamdistill.regions.membership import RegionMembership
from mmsamdistill.regions.region_map import RegionMap

__all__ = ['RegionMap', 'RegionMembership', 'compact_labels', 'labels_to_masks', 'masks_to_labels']
