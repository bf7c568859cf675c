"""An expensive source in some steps of a training, a cheap one in the others."""

from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.logging import MessageHub
from torch import Tensor, nn

from mmsamdistill.arguments import check_number
from mmsamdistill.sources.controls import NoRegions
from mmsamdistill.sources.source import RegionSource, build_source


@MODELS.register_module()
class AlternatingRegions(RegionSource):
    """Take regions from one source in every n-th iteration, and from another one in between.

    Running SAM on the restored image in every training step, as the paper does, multiplies the
    cost of a step, and regions cannot be kept from one step to the next, which sees other crops.
    What the steps in between do is a choice that changes the training, and is made by
    ``otherwise``: cached regions, superpixels, or none (SGR then contributes zero)::

        regions=dict(type='AlternatingRegions', interval=10,
            source=dict(type='SAMRegions', checkpoint='sam_vit_b_01ec64.pth',
                        generator_type='fast',
                        generator=dict(points_per_side=16, images_per_batch=8)),
            otherwise=dict(type='CachedRegions'))

    The iteration is the Runner's, so a resumed run alternates as an uninterrupted one, and all
    processes of a distributed run use the same source at a time: none waits for another's SAM. In
    evaluation mode and outside of a Runner it is always ``source``. A cascade whose teacher rests
    (``teacher_interval``) asks in some iterations only: a turn in between is made up for then.

    Args:
        source: The expensive source, built or as a config.
        otherwise: The source of all other iterations. Default: None, no regions.
        interval: ``source`` is used in iterations ``offset``, ``offset + interval``, ... At least
            1, which means always. Default: 1.
        offset: The first iteration that uses ``source``, in ``0 .. interval - 1``. Default: 0.

    Raises:
        TypeError: If a source is neither a config nor a module.
        ValueError: If interval or offset are out of range.

    Example:
        >>> AlternatingRegions(dict(type='SuperpixelRegions'), interval=100).extra_repr()
        'interval=100, offset=0'
    """

    def __init__(
        self,
        source: dict[str, Any] | nn.Module,
        otherwise: dict[str, Any] | nn.Module | None = None,
        interval: int = 1,
        offset: int = 0,
    ) -> None:
        super().__init__()
        check_number(1, whole=True, interval=interval)
        check_number(0, below=interval, whole=True, offset=offset)
        self.source = build_source('source', source)
        self.otherwise = NoRegions() if otherwise is None else build_source('otherwise', otherwise)
        self.interval = interval
        self.offset = offset
        self.asked_every = 1  # iterations; set by the cascade
        # One source that needs maps from the pipeline is enough to need them in every sample.
        self.online = self.source.online and (interval == 1 or self.otherwise.online)

    def prepare(self, device: str | torch.device) -> None:
        """Prepare both sources; see :class:`RegionSource`."""
        self.source.prepare(device)
        self.otherwise.prepare(device)

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Regions by the source whose turn it is; see :class:`RegionSource`."""
        iteration = MessageHub.get_current_instance().get_info('iter', None)
        always = not self.training or iteration is None
        is_turn = always or (iteration - self.offset) % self.interval < self.asked_every
        return (self.source if is_turn else self.otherwise)(images, data_samples)

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
