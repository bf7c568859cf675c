"""Region maps that were computed beforehand and travel with the images."""

from collections.abc import Sequence
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor

from mmsamdistill.images.finding import sample_paths
from mmsamdistill.sources.source import RegionSource


@MODELS.register_module()
class CachedRegions(RegionSource):
    """Take the region maps that the data pipeline loaded from a cache.

    The maps were cropped and flipped with their images, so they fit the batch as it is.

    Shape:
        - images: ``(N, 3, H, W)``
        - data_samples.regions: ``(N, 1, H, W)`` or ``(N, H, W)``, any integer dtype
        - result: ``(N, H, W)`` int64

    Example:
        >>> from types import SimpleNamespace
        >>> sample = SimpleNamespace(regions=torch.tensor([[[[4, 0]]]]))
        >>> CachedRegions()(torch.rand(1, 3, 1, 2), sample).tolist()
        [[[4, 0]]]
    """

    online = False

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Region maps of the batch; see :class:`RegionSource`.

        Raises:
            KeyError: If the data samples carry no regions.
            TypeError: If the maps are not integers.
            ValueError: If the maps do not have the images' size.
        """
        labels = _regions_of(data_samples)
        if labels.is_floating_point():
            raise TypeError(
                f'region maps must stay integers, got {labels.dtype}; leave "regions" out of '
                f'transforms that normalise or resize'
            )
        expected = (images.shape[0], *images.shape[2:])
        # Data samples keep a channel, which a stack of maps does not have.
        if labels.dim() == 4 and labels.shape[1] == 1:
            labels = labels.squeeze(1)
        if tuple(labels.shape) != expected:
            raise ValueError(
                f'region maps {tuple(labels.shape)} do not fit images {tuple(images.shape)} '
                f'({_paths_of(data_samples)}); crop, flip and pad "regions" with the images'
            )
        return labels

    def describe(self) -> dict[str, Any]:
        """The type alone: where the maps came from is in the cache's own manifest."""
        return {'type': type(self).__name__}


def _regions_of(data_samples: Any) -> Tensor:
    if isinstance(data_samples, Sequence):
        maps = [_regions_of(sample) for sample in data_samples]
        sizes = {tuple(labels.shape) for labels in maps}
        if len(sizes) > 1:
            raise ValueError(
                f'region maps differ in size: {sorted(sizes)} ({_paths_of(data_samples)})'
            )
        if maps:
            return torch.stack(maps)
    labels = getattr(data_samples, 'regions', None)
    if labels is None:
        raise KeyError(
            'CachedRegions found no region maps: wrap the training dataset in dict(type='
            "'RegionDataset', ...), or compute them, regions=dict(type='SuperpixelRegions')"
        )
    return labels


def _paths_of(data_samples: Any) -> str:
    """Image paths of the batch as far as the data samples know them, for error messages."""
    samples = data_samples if isinstance(data_samples, Sequence) else [data_samples]
    paths = (sample_paths(getattr(sample, 'metainfo', {})) for sample in samples)
    return ', '.join(path for each in paths for path in each) or 'image paths unknown'
