"""The restorer as an inferencer by MMEngine's conventions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.registry import INFERENCERS
from torch import nn

from mmsamdistill.deploy.image_files import read_picture
from mmsamdistill.deploy.restorer import Restorer


@INFERENCERS.register_module()
class RestorationInferencer(BaseInferencer):
    """Restore files, folders or arrays as other OpenMMLab inferencers take them.

    Args:
        model: Config or its path, plain or distilled.
        weights: Checkpoint in any dialect.
        device: Where to compute; None: MMEngine's choice.
        scope: Scope of the registries. Default: 'mmagic'.
        show_progress: Show a progress bar.
        options: ``tile``, ``overlap``, ``amp``, ``ema``, ``local`` of
            :class:`~mmsamdistill.deploy.Restorer`.

    Example::

        infer = RestorationInferencer('config.py', 'student.pth')
        images = infer(['a.png', 'b.png'], batch_size=2)['predictions']
    """

    def __init__(
        self,
        model: Config | str,
        weights: str,
        device: str | None = None,
        scope: str = 'mmagic',
        show_progress: bool = True,
        **options: Any,
    ) -> None:
        self._options = options
        super().__init__(model, weights, device, scope, show_progress)

    def forward(self, inputs: list[np.ndarray], **kwargs: Any) -> list[np.ndarray]:
        """Restore a batch of RGB arrays."""
        return self.restorer(inputs, batch_size=len(inputs))

    def visualize(
        self, inputs: list, preds: Any, show: bool = False, **kwargs: Any
    ) -> list[np.ndarray]:
        """Give the restored images: there is nothing to draw."""
        return preds

    def postprocess(
        self,
        preds: list[np.ndarray],
        visualization: list[np.ndarray],
        return_datasample: bool = False,
        **kwargs: Any,
    ) -> dict[str, list]:
        """Give ``predictions``, RGB arrays or data samples with ``pred_img``, and the images."""
        if return_datasample:
            from mmagic.structures import DataSample
            from mmagic.utils import all_to_tensor

            preds = [DataSample(pred_img=all_to_tensor(each)) for each in preds]
        return {'predictions': preds, 'visualization': visualization}

    def _init_model(self, cfg: Any, weights: str, device: str = 'cpu') -> nn.Module:
        cfg = cfg if isinstance(cfg, Config) else Config(dict(cfg))
        self.restorer = Restorer(cfg, weights, device=str(device), **self._options)
        return self.restorer.model

    def _init_pipeline(self, cfg: Any) -> Callable:
        return lambda each: read_picture(each).pixels if isinstance(each, (str, Path)) else each

    def _init_collate(self, cfg: Any) -> Callable:
        return list

    def _init_visualizer(self, cfg: Any) -> None:
        return None

    def _inputs_to_list(self, inputs: Any) -> list:
        if isinstance(inputs, Sequence) and not isinstance(inputs, str):
            return list(inputs)
        return super()._inputs_to_list(str(inputs) if isinstance(inputs, Path) else inputs)
