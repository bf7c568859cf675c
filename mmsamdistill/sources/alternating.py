"""An expensive source in some steps of a training, a cheap one in the others."""

from __future__ import annotations

from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.logging import MessageHub
from torch import Tensor, nn

from mmsamdistill.sources.controls import NoRegions
from mmsamdistill.sources.source import RegionSource, build_source


@MODELS.register_module()
class AlternatingRegions(RegionSource):
    """Take regions from one source in every n-th iteration, and from another one in between.

    Running SAM on the restored image in every training step, as the paper does, multiplies the
    cost of a step. Every step sees other crops, so regions cannot be kept from one step to the
    next: what an interval can do is to spend SAM on some steps only. What the other steps do is a
    choice that changes the training, and is made by ``otherwise``: cached regions of the ground
    truth, superpixels, or none (the teacher is then a plain second restorer in these steps, and
    SGR contributes zero).

    SAM on the batch of a training step, with a coarse grid of prompts and the whole batch through
    the encoder together::

        regions=dict(type='AlternatingRegions', interval=10,
            source=dict(type='SAMRegions', checkpoint='sam_vit_b_01ec64.pth',
                        generator_type='fast',
                        generator=dict(points_per_side=16, images_per_batch=8)),
            otherwise=dict(type='CachedRegions'))

    The iteration is the Runner's, so a resumed run alternates as an uninterrupted one, and all
    processes of a distributed run use the same source at a time: none waits for another's SAM. In
    evaluation mode and outside of a Runner it is always ``source``.

    Args:
        source: The expensive source, built or as a config.
        otherwise: The source of all other iterations. Default: None, no regions.
        interval: ``source`` is used in iterations ``offset``, ``offset + interval``, ... At least
            1, which means always. Default: 1.
        offset: The first iteration that uses ``source``, in ``0 .. interval - 1``. Default: 0.

    Shape:
        - images: ``(N, 3, H, W)``
        - result: ``(N, H, W)`` int64

    Raises:
        TypeError: If a source is neither a config nor a module.
        ValueError: If interval or offset are out of range.

    Example:
        >>> import torch
        >>> class Everything(RegionSource):
        ...     def find(self, images, data_samples=None):
        ...         return torch.ones_like(images[:, 0], dtype=torch.int64)
        >>> regions = AlternatingRegions(Everything(), interval=100).eval()
        >>> regions(torch.rand(1, 3, 1, 1)).tolist()
        [[[1]]]

    Source: ours; SAM on the restored image in every step is the paper's.
    """

    def __init__(
        self,
        source: dict[str, Any] | nn.Module,
        otherwise: dict[str, Any] | nn.Module | None = None,
        interval: int = 1,
        offset: int = 0,
    ) -> None:
        super().__init__()
        if interval < 1 or not 0 <= offset < interval:
            raise ValueError(
                f'interval={interval} must be at least 1 and offset={offset} in 0..interval-1'
            )
        self.source = build_source('source', source)
        self.otherwise = NoRegions() if otherwise is None else build_source('otherwise', otherwise)
        self.interval = interval
        self.offset = offset
        # One source that needs maps from the pipeline is enough to need them in every sample.
        self.online = self.source.online and (interval == 1 or self.otherwise.online)

    def prepare(self, device: str | torch.device) -> None:
        """Prepare both sources; see :class:`RegionSource`."""
        self.source.prepare(device)
        self.otherwise.prepare(device)

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Regions by the source whose turn it is; see :class:`RegionSource`."""
        chosen = self.source if self._is_turn() else self.otherwise
        return chosen(images, data_samples)

    def describe(self) -> dict[str, Any]:
        """Both sources, and when they are used."""
        return {
            'type': type(self).__name__,
            'source': self.source.describe(),
            'otherwise': self.otherwise.describe(),
            'interval': self.interval,
            'offset': self.offset,
        }

    def extra_repr(self) -> str:
        """When which source is used, for ``print(model)``."""
        return f'interval={self.interval}, offset={self.offset}'

    def _is_turn(self) -> bool:
        if not self.training:
            return True
        iteration = MessageHub.get_current_instance().get_info('iter', None)
        return iteration is None or iteration % self.interval == self.offset
