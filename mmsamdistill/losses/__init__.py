"""What the student is taught: the teacher's images (SPD) and its relations of regions (SGR)."""

from mmsamdistill.losses.features import FeatureLoss
from mmsamdistill.losses.sgr import SGRLoss
from mmsamdistill.losses.spd import SPDLoss

__all__ = ['FeatureLoss', 'SGRLoss', 'SPDLoss']
