"""From a distilled checkpoint to restored images: export, restoring, and what they cost."""

from mmsamdistill.deploy.export import export_checkpoint, plain_config, verify_export
from mmsamdistill.deploy.inferencer import RestorationInferencer
from mmsamdistill.deploy.restorer import Restorer

__all__ = [
    'RestorationInferencer',
    'Restorer',
    'export_checkpoint',
    'plain_config',
    'verify_export',
]
