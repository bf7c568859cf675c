"""Where region maps come from: networks, colour, a cache, or nowhere (the controls)."""

from mmsamdistill.sources.alternating import AlternatingRegions
from mmsamdistill.sources.cached import CachedRegions
from mmsamdistill.sources.controls import NoRegions, ShuffledRegions
from mmsamdistill.sources.learned_edges import LearnedEdgeRegions
from mmsamdistill.sources.sam import SAM2Regions, SAMRegions
from mmsamdistill.sources.sam_transformers import TransformersRegions
from mmsamdistill.sources.source import RegionSource
from mmsamdistill.sources.superpixel import SuperpixelRegions

__all__ = [
    'AlternatingRegions', 'CachedRegions', 'LearnedEdgeRegions', 'NoRegions', 'RegionSource',
    'SAM2Regions', 'SAMRegions', 'ShuffledRegions', 'SuperpixelRegions', 'TransformersRegions',
]  # fmt: skip
