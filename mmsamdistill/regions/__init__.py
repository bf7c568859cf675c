"""Region priors: the region map and the sources that find regions in images."""

from mmsamdistill.regions.cached import CachedRegions
from mmsamdistill.regions.controls import NoRegions, ShuffledRegions
from mmsamdistill.regions.fast_sam import FastSamMaskGenerator
from mmsamdistill.regions.online import AlternatingRegions
from mmsamdistill.regions.region_map import (
    RegionMap,
    RegionMembership,
    compact_labels,
    labels_to_masks,
    masks_to_labels,
)
from mmsamdistill.regions.sam import SAMRegions
from mmsamdistill.regions.sam2 import SAM2Regions
from mmsamdistill.regions.source import RegionSource
from mmsamdistill.regions.superpixel import SuperpixelRegions

__all__ = [
    'AlternatingRegions',
    'CachedRegions',
    'FastSamMaskGenerator',
    'NoRegions',
    'RegionMap',
    'RegionMembership',
    'RegionSource',
    'SAM2Regions',
    'SAMRegions',
    'ShuffledRegions',
    'SuperpixelRegions',
    'compact_labels',
    'labels_to_masks',
    'masks_to_labels',
]
