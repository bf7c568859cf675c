"""Restorers that MMagic lacks, by the official names of their parameters, and what trains them."""

from typing import Any

from mmsamdistill.compat import register_late
from mmsamdistill.restorers.hinet import HINet
from mmsamdistill.restorers.losses import EdgeLoss, SSIMLoss, SummedLoss
from mmsamdistill.restorers.mprnet import MPRNet
from mmsamdistill.restorers.prenet import PReNet

__all__ = ['EdgeLoss', 'HINet', 'MPRNet', 'MultiStageRestorer', 'PReNet', 'SSIMLoss', 'SummedLoss']

# Derives from MMagic's BaseEditModel, which is not imported until a config asks for it.
register_late('MODELS', 'MultiStageRestorer', 'mmsamdistill.restorers.multi_stage')


def __getattr__(name: str) -> Any:
    """Import what derives from MMagic's models when it is asked for."""
    if name == 'MultiStageRestorer':
        from mmsamdistill.restorers.multi_stage import MultiStageRestorer

        return MultiStageRestorer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
