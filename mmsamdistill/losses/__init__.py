"""What the student is taught: the teacher's images (SPD) and its relations of regions (SGR)."""

from mmsamdistill.losses.sgr import FeatureLoss, SGRLoss
from mmsamdistill.losses.spd import SPDLoss

__all__ = ['FeatureLoss', 'SGRLoss', 'SPDLoss']
