"""The cascade: student, semantic priors fusion and teacher."""

from mmsamdistill.cascade.analyzer import VGGAnalyzer
from mmsamdistill.cascade.feature_tap import FeatureTap
from mmsamdistill.cascade.restorer import SAMDistillRestorer
from mmsamdistill.cascade.spf_head import SPFHead

__all__ = ['FeatureTap', 'SAMDistillRestorer', 'SPFHead', 'VGGAnalyzer']
