"""Superpixels: regions from colour alone, without weights."""

from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor

from mmsamdistill.arguments import check_choice, check_number
from mmsamdistill.sources.source import RegionSource, to_unit_range

_DEFAULTS: dict[str, dict[str, float]] = {
    'felzenszwalb': {'scale': 50.0, 'sigma': 0.5, 'min_size': 10},
    'slic': {'n_segments': 400, 'compactness': 10.0, 'sigma': 0.0},
}


@MODELS.register_module()
class SuperpixelRegions(RegionSource):
    """Regions from scikit-image's superpixels: the prior that needs no weights and no download.

    The defaults give many tight regions rather than few large ones (some 1700 on a photograph of
    481 x 321), because a region that leaks over a border averages two objects into one prior, while
    two regions on one object cost little. For coarser ones raise ``scale`` and ``min_size`` (400
    and 100: some 90), or take :class:`LearnedEdgeRegions`. Every pixel is in a region, and the same
    image gives the same regions, whatever batch it is in.

    Args:
        method: ``'felzenszwalb'`` (graph based, follows contrast, sizes adapt to content; the
            default) or ``'slic'`` (compact cells of similar size).
        scale: felzenszwalb: larger means larger regions. Default: 50.
        sigma: Width in pixels of the Gaussian that smooths the image first. Default: 0.5 for
            felzenszwalb, 0 for slic.
        min_size: felzenszwalb: regions below this many pixels are merged. Default: 10.
        n_segments: slic: approximate number of regions per image. Default: 400.
        compactness: slic: weight of nearness against colour. Default: 10.

    Raises:
        ValueError: If the method is unknown, or a parameter is no number, or the other method's.

    Example:
        >>> image = torch.zeros(1, 3, 16, 16)
        >>> image[..., 8:] = 1.0
        >>> SuperpixelRegions(sigma=0)(image).unique().tolist()
        [1, 2]

    Source: Felzenszwalb and Huttenlocher 2004; Achanta et al. 2012.
    """

    def __init__(
        self,
        method: str = 'felzenszwalb',
        *,
        scale: float | None = None,
        sigma: float | None = None,
        min_size: int | None = None,
        n_segments: int | None = None,
        compactness: float | None = None,
    ) -> None:
        super().__init__()
        given = {
            'scale': scale,
            'sigma': sigma,
            'min_size': min_size,
            'n_segments': n_segments,
            'compactness': compactness,
        }
        self.method = method
        self.parameters_of_method = _complete(method, given)

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Segment each image on the CPU; see :class:`RegionSource`."""
        pixels = to_unit_range(images).permute(0, 2, 3, 1).cpu().double().numpy()
        labels = [_segment(image, self.method, self.parameters_of_method) for image in pixels]
        return torch.from_numpy(np.stack(labels))

    def describe(self) -> dict[str, Any]:
        """The method and all of its parameters, defaults included."""
        return {'type': type(self).__name__, 'method': self.method, **self.parameters_of_method}

    def extra_repr(self) -> str:
        """The parameters, for ``print(model)``."""
        values = {'method': self.method, **self.parameters_of_method}
        return ', '.join(f'{name}={value!r}' for name, value in values.items())


def _complete(method: str, given: dict[str, float | None]) -> dict[str, float]:
    """Fill in the method's defaults; refuse parameters that would have no effect."""
    check_choice(_DEFAULTS, method=method)
    defaults = _DEFAULTS[method]
    chosen = {name: value for name, value in given.items() if value is not None}
    foreign = sorted(set(chosen) - set(defaults))
    if foreign:
        raise ValueError(
            f'{method} does not use {", ".join(foreign)}; its parameters are {sorted(defaults)}'
        )
    for name, value in chosen.items():
        count = name in ('min_size', 'n_segments')
        check_number(1 if name == 'n_segments' else 0, whole=count, **{name: value})
    return {**defaults, **chosen}


def _segment(image: np.ndarray, method: str, parameters: dict[str, float]) -> np.ndarray:
    """Labels from 1 of one ``(H, W, 3)`` image in [0, 1]."""
    # Importing skimage takes longer than importing the rest of this package.
    from skimage import segmentation

    if method == 'felzenszwalb':
        labels = segmentation.felzenszwalb(image, channel_axis=-1, **parameters) + 1
    else:
        labels = segmentation.slic(image, channel_axis=-1, start_label=1, **parameters)
    return labels.astype(np.int64)
