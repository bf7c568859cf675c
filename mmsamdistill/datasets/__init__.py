"""Images, their region maps and their degradations, in MMagic's pipelines."""

from mmsamdistill.datasets.mixed_sampler import MixedSampler
from mmsamdistill.datasets.region_dataset import RegionDataset
from mmsamdistill.datasets.region_pipeline import add_regions_to_pipeline
from mmsamdistill.datasets.transforms.degradations import AddGaussianNoise
from mmsamdistill.datasets.transforms.motion_blur import MotionBlur
from mmsamdistill.datasets.transforms.pad import PadToPatch
from mmsamdistill.datasets.transforms.rain import AddRain
from mmsamdistill.datasets.transforms.region_crop import RegionCrop
from mmsamdistill.datasets.transforms.region_mix import RegionMix
from mmsamdistill.datasets.transforms.regions import CarryRegions, LoadRegionMap
from mmsamdistill.datasets.transforms.without_truth import WithoutTruth

__all__ = [
    'AddGaussianNoise', 'AddRain', 'CarryRegions', 'LoadRegionMap', 'MixedSampler', 'MotionBlur',
    'PadToPatch', 'RegionCrop', 'RegionDataset', 'RegionMix', 'WithoutTruth',
    'add_regions_to_pipeline',
]  # fmt: skip
