"""Degradations whose strength changes from region to region."""

from typing import Any, ClassVar

import numpy as np
from mmagic.registry import TRANSFORMS

from mmsamdistill.arguments import check_choice
from mmsamdistill.datasets.transforms.base import OwnTransform
from mmsamdistill.datasets.transforms.degradations import Range, check_range, quantise


@TRANSFORMS.register_module()
class RegionMix(OwnTransform):
    r"""Mix truth into the degraded image, as much of it in each region as chance has it.

    .. math:: x'_p = y_p + \alpha_{r(p)} \, (x_p - y_p), \qquad \alpha_r \sim U(a, b)

    A restorer that is trained on one degradation takes it for granted, and fails on a weaker one.
    Within an image of many strengths it has to look how degraded each object is. Works on any
    paired data, also where the degradation cannot be computed anew, and costs nothing at inference.

    Goes after whatever degrades and moves pixels, before ``PackInputs``; not for testing. What it
    gains is measured in ``benchmarks``.

    Args:
        probability: Of an image to be mixed. Default: 0.25.
        strength: The range (a, b); above 1 the degradation is exaggerated. Default: (0.3, 1.6).
        per: 'region' draws a strength for each region (pixels in no region share one). As controls,
            'misplaced' does so with the region map turned upside down, and 'image' draws one for
            the whole image. Default: 'region'.
        img_key: The degraded image, mixed in place. Integer images are rounded. Default: 'img'.
        gt_key: The truth. Default: 'gt'.
        regions_key: The region map, as ``RegionDataset`` loads it. Default: 'regions'.

    Example:
        >>> pair = {'img': np.full((1, 2, 3), 80.0), 'gt': np.zeros((1, 2, 3))}
        >>> mix = RegionMix(probability=1.0, strength=0.25)
        >>> mix({**pair, 'regions': np.array([[[1], [2]]])})['img'][0, :, 0].tolist()
        [20.0, 20.0]

    Source: ours, after CutBlur (Yoo et al., CVPR 2020), which mixes rectangles of two strengths.
    """

    geometric: ClassVar[str | bool] = False
    """Every pixel stays where it is."""

    def __init__(
        self,
        probability: float = 0.25,
        strength: Range = (0.3, 1.6),
        per: str = 'region',
        img_key: str = 'img',
        gt_key: str = 'gt',
        regions_key: str = 'regions',
    ) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f'probability must be in 0..1, got {probability}')
        check_choice(('region', 'misplaced', 'image'), per=per)
        self.probability = probability
        self.strength = check_range('strength', strength)
        self.per = per
        self.img_key = img_key
        self.gt_key = gt_key
        self.regions_key = regions_key

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mix, or leave the image as it is."""
        # 1. All that is needed is there and fits, also where the image will not be mixed.
        degraded, truth = self._get(results, self.img_key), self._get(results, self.gt_key)
        if degraded.shape != truth.shape:
            raise ValueError(
                f'RegionMix: {self.img_key!r} of {degraded.shape} cannot be mixed with '
                f'{self.gt_key!r} of {truth.shape}'
            )
        labels = self._labels(results, degraded)
        if np.random.random() >= self.probability:
            return results
        # 2. A strength for each region, spread over its pixels.
        region_of = np.unique(labels, return_inverse=True)[1].reshape(*labels.shape[:2], 1)
        strengths = np.random.uniform(*self.strength, region_of.max() + 1).astype(np.float32)
        truth = truth.astype(np.float32)
        mixed = truth + strengths[region_of] * (degraded.astype(np.float32) - truth)
        if np.issubdtype(degraded.dtype, np.integer):
            mixed = quantise(mixed, degraded.dtype)
        return {**results, self.img_key: mixed}

    def _labels(self, results: dict[str, Any], image: np.ndarray) -> np.ndarray:
        """A label for each pixel, (H, W, 1), or (1, 1, 1) for all."""
        if self.per == 'image':
            return np.zeros((1, 1, 1), np.intp)
        labels = self._get(results, self.regions_key)
        if labels.shape[:2] != image.shape[:2]:
            raise ValueError(
                f'RegionMix: a region map of shape {labels.shape} beside images of shape '
                f'{image.shape}; it goes after all transforms that move pixels'
            )
        return labels[::-1, ::-1] if self.per == 'misplaced' else labels
