"""Numbers, tables and figures that the host lacks."""

from mmsamdistill.evaluation.lpips_metric import LPIPSMetric
from mmsamdistill.evaluation.protocols import PROTOCOLS, Protocol, get_protocol, measure
from mmsamdistill.evaluation.region_metrics import RegionPSNR
from mmsamdistill.evaluation.restoration_metric import RestorationMetric, protocol_labels
from mmsamdistill.evaluation.segmentation_metric import SegmentationMetric
from mmsamdistill.evaluation.segmenters import Segmenter
from mmsamdistill.evaluation.ssim import SSIMVariant

__all__ = [
    'PROTOCOLS', 'LPIPSMetric', 'Protocol', 'RegionPSNR', 'RestorationMetric', 'SSIMVariant',
    'SegmentationMetric', 'Segmenter', 'get_protocol', 'measure', 'protocol_labels',
]  # fmt: skip
