"""Random crops that prefer places with many regions."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from mmagic.registry import TRANSFORMS
from mmcv.transforms import Compose

from mmsamdistill.arguments import check_choice, check_number
from mmsamdistill.datasets.transforms.base import OwnTransform


@TRANSFORMS.register_module()
class RegionCrop(OwnTransform):
    r"""Crop several times at random, and keep the crop that shows the most regions.

    .. math:: p^* = \arg\max_{p \in \{p_1, ..., p_k\}} |\{ r(q) : q \in p \}|

    A restorer is judged by the mean error of whole images, which lies where the detail is; a crop
    at random is mostly sky. ``RegionDataset(..., crop=dict(candidates=2))`` puts this around the
    random crop of any pipeline, which then reads::

        dict(type='RegionCrop', transforms=[dict(type='PairedRandomCrop', gt_patch_size=64)])

    Args:
        transforms: The random crop, and whatever shall be drawn anew with it. Each try starts from
            the same images.
        candidates: Number of tries k; with 1 the crop is the plain one. Default: 2.
        by: What is counted. 'regions': the labels in the crop. As controls, 'misplaced': those in
            the region map turned upside down; 'contrast': the mean absolute difference between
            neighbouring pixels of the truth, without a region map. Default: 'regions'.
        gt_key: The truth. Default: 'gt'.
        regions_key: The region map, as ``RegionDataset`` loads it. Default: 'regions'.

    Example:
        >>> left = lambda results: {key: value[:, :2] for key, value in results.items()}
        >>> crop = RegionCrop([left])
        >>> crop({'gt': np.zeros((1, 3, 3)), 'regions': np.array([[[1], [1], [2]]])})['gt'].shape
        (1, 2, 3)
    """

    wraps: ClassVar[bool] = True
    """What it does to a region map is what the transforms in it do."""

    def __init__(
        self,
        transforms: Sequence[Any],
        candidates: int = 2,
        by: str = 'regions',
        gt_key: str = 'gt',
        regions_key: str = 'regions',
    ) -> None:
        check_number(1, candidates=candidates)
        check_choice(('regions', 'misplaced', 'contrast'), by=by)
        # Built here, since mmcv's Compose knows mmcv's transforms alone.
        self.transforms = Compose(
            [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in transforms]
        )
        # A crop alone makes views of the images. MMagic's transforms write into what they get: a
        # flip after it, through such a view into the images of the next try.
        alone = len(transforms) == 1 and not hasattr(self.transforms.transforms[0], 'transforms')
        self._shielded: Callable[[Any], Any] = dict if alone else copy.deepcopy
        self.candidates = candidates
        self.by = by
        self.gt_key = gt_key
        self.regions_key = regions_key

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Crop; None if a crop gave None."""
        self._get(results, self.gt_key if self.by == 'contrast' else self.regions_key)
        if self.by == 'misplaced':
            # Beside the true map as a second channel, so that it is moved along.
            labels = results[self.regions_key]
            both = np.concatenate([labels, labels[::-1, ::-1]], axis=-1)
            results = {**results, self.regions_key: both}
        # Every try starts from the same images, which after the last nobody needs; of equals the
        # first is kept.
        best, most = None, -1.0
        for left in reversed(range(self.candidates)):
            cropped = self.transforms(self._shielded(results) if left else dict(results))
            if cropped is None:  # MMEngine's datasets then draw another image
                return None
            score = self._score(cropped)
            if score > most:
                best, most = cropped, score
        if self.by == 'misplaced':
            best[self.regions_key] = np.ascontiguousarray(best[self.regions_key][..., :1])
        return best

    def _score(self, results: dict[str, Any]) -> float:
        if self.by != 'contrast':
            return len(np.unique(results[self.regions_key][..., -1]))
        truth = results[self.gt_key].astype(np.float32)
        return sum(float(np.abs(np.diff(truth, axis=axis)).mean()) for axis in (0, 1))
