"""Restoring image files with a trained model, exactly as its config tests it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from mmsamdistill.datasets.region_pipeline import type_name
from mmsamdistill.deploy.export import build_model, plain_config
from mmsamdistill.deploy.tiling import check_tile, restore_tiled
from mmsamdistill.weights import load_plain


class FileRestorer:
    """Restore image files with the plain restorer of a config.

    Of a distilled config and checkpoint, the student is used and nothing else is built. Images are
    loaded as the config's test pipeline loads them, channel order included, and go through the
    model's own ``data_preprocessor`` and ``mode='predict'``, so that no second opinion on
    normalisation or channel order exists.

    Args:
        cfg: A whole config, plain or distilled.
        checkpoint: Weights in any dialect.
        tile: Window in pixels for large images, see
            :func:`~mmsamdistill.deploy.tiling.restore_tiled`.
            None: the whole image at once.
        overlap: Overlap of windows in pixels; None: that function's default.
        device: Where to compute; None: CUDA if there is any.
        ema: Take averaged weights if there are any; else the raw ones.

    Raises:
        ValueError: If the weights do not fit, no pipeline of the config loads images, or tile and
            overlap are out of range.

    Source: ours.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str | Path,
        tile: int | None = None,
        overlap: int | None = None,
        device: str | None = None,
        ema: bool = True,
    ) -> None:
        if tile is not None:
            check_tile(tile, *(() if overlap is None else (overlap,)))
        cfg = plain_config(cfg)
        self.tile = tile
        self.options = {} if overlap is None else {'overlap': overlap}
        self.model = build_model(cfg)
        load_plain(self.model, checkpoint, ema)
        self.model.to(device or ('cuda' if torch.cuda.is_available() else 'cpu')).eval()
        # There is no truth to preprocess, which the host would warn of.
        self.model.data_preprocessor.data_keys = None
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmagic')):
            self.load = TRANSFORMS.build(loading_step(cfg))
            self.pack = TRANSFORMS.build({'type': 'PackInputs'})

    def __call__(self, path: str | Path) -> np.ndarray:
        """Restore one image.

        Args:
            path: An image file.

        Returns:
            (H, W, 3) or (H, W, 1) uint8, rounded, colours in OpenCV's order BGR.

        Raises:
            ValueError: If the file is no readable image.
        """
        sample = self._read(path)
        if self.tile is None:
            restored = self._predict(sample['inputs'], sample['data_samples'])
        else:
            restored = restore_tiled(
                lambda window: self._predict(window, sample['data_samples']),
                sample['inputs'],
                self.tile,
                **self.options,
            )
        # MMagic's `destruct` clamps but does not round.
        pixels = restored.float().clamp(0, 255).round().to(torch.uint8)
        return pixels.permute(1, 2, 0).contiguous().numpy()

    def _read(self, path: str | Path) -> dict[str, Any]:
        try:
            loaded = self.load({'img_path': str(path)})
        except OSError:
            raise
        # What a decoder gives for a broken file depends on the decoder: None, or its own error.
        except Exception as error:
            raise ValueError(f'{path} is not a readable image: {error}') from error
        return self.pack(loaded)

    @torch.no_grad()
    def _predict(self, image: Tensor, data_sample: Any) -> Tensor:
        # The host writes into data samples, and each window needs a fresh one.
        batch = {'inputs': [image], 'data_samples': [copy.deepcopy(data_sample)]}
        return self.model.test_step(batch)[0].output.pred_img.cpu()


def loading_step(cfg: Config) -> dict[str, Any]:
    """Find how a config loads the images it tests on.

    The step for ``img`` counts; where the degraded image is made from the truth, that for ``gt``.
    MMagic loads BGR unless ``channel_order='rgb'`` is set, and a network restores well only in the
    order that it was trained in.

    Args:
        cfg: A whole config.

    Returns:
        Config of the ``LoadImageFromFile`` step, for the key ``img``.

    Raises:
        ValueError: If no pipeline has such a step.

    Example:
        >>> step = dict(type='LoadImageFromFile', key='gt', channel_order='rgb')
        >>> loading_step(Config(dict(test_pipeline=[step])))['channel_order']
        'rgb'
    """
    for pipeline in _pipelines(cfg):
        steps = {
            step.get('key'): step for step in pipeline if type_name(step) == 'LoadImageFromFile'
        }
        for key in ('img', 'gt'):
            if key in steps:
                return {**steps[key], 'key': 'img'}
    raise ValueError(
        'the config has no test or validation pipeline with a LoadImageFromFile step, which would '
        "tell how images are loaded; add test_pipeline=[dict(type='LoadImageFromFile', key='img', "
        'channel_order=...)]'
    )


def _pipelines(cfg: Config) -> Iterator[list[Mapping]]:
    """Yield a config's pipelines, the one that says most about deployment first."""
    for name in ('test', 'val'):
        loaders = cfg.get(f'{name}_dataloader')
        for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
            dataset = (loader or {}).get('dataset')
            while dataset and 'pipeline' not in dataset:
                dataset = dataset.get('dataset')  # a data set around a data set
            if dataset:
                yield dataset['pipeline']
        if cfg.get(f'{name}_pipeline'):
            yield cfg[f'{name}_pipeline']
