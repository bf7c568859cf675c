"""Restorers that MMagic lacks, by the official names of their parameters, and what trains them."""

from typing import Any

from mmsamdistill.compat import register_late
from mmsamdistill.restorers.edge_loss import EdgeLoss
from mmsamdistill.restorers.hinet import HINet
from mmsamdistill.restorers.mprnet import MPRNet
from mmsamdistill.restorers.prenet import PReNet
from mmsamdistill.restorers.ssim_loss import SSIMLoss
from mmsamdistill.restorers.summed_loss import SummedLoss

__all__ = [
    'EdgeLoss',
    'HINet',
    'MPRNet',
    'MultiStageRestorer',
    'PReNet',
    'SSIMLoss',
    'SummedLoss',
]

# Derives from MMagic's BaseEditModel, which is not imported until a config asks for it.
register_late('MODELS', 'MultiStageRestorer', 'mmsamdistill.restorers.multi_stage')


def __getattr__(name: str) -> Any:
    """Import what derives from MMagic's models when it is asked for."""
    if name == 'MultiStageRestorer':
        from mmsamdistill.restorers.multi_stage import MultiStageRestorer

        return MultiStageRestorer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
