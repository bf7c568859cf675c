"""Images, their region maps and their degradations, in MMagic's pipelines."""

from mmsamdistill.datasets.region_dataset import region_dataset
from mmsamdistill.datasets.region_pipeline import add_regions_to_pipeline
from mmsamdistill.datasets.transforms import (
    AddGaussianNoise,
    AddRain,
    CarryRegions,
    LoadRegionMap,
    MotionBlur,
    PadToPatch,
)

__all__ = [
    'AddGaussianNoise',
    'AddRain',
    'CarryRegions',
    'LoadRegionMap',
    'MotionBlur',
    'PadToPatch',
    'add_regions_to_pipeline',
    'region_dataset',
]
