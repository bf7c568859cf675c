"""Images, their region maps and their degradations, in MMagic's pipelines."""

from mmsamdistill.datasets.mixed_sampler import MixedSampler
from mmsamdistill.datasets.region_dataset import RegionDataset
from mmsamdistill.datasets.region_pipeline import add_regions_to_pipeline
from mmsamdistill.datasets.transforms import (
    AddGaussianNoise,
    AddRain,
    CarryRegions,
    LoadRegionMap,
    MotionBlur,
    PadToPatch,
    RegionCrop,
    RegionMix,
    WithoutTruth,
)

__all__ = [
    'AddGaussianNoise',
    'AddRain',
    'CarryRegions',
    'LoadRegionMap',
    'MixedSampler',
    'MotionBlur',
    'PadToPatch',
    'RegionCrop',
    'RegionDataset',
    'RegionMix',
    'WithoutTruth',
    'add_regions_to_pipeline',
]
