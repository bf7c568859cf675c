"""Making small images large enough for a patch."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from mmagic.registry import TRANSFORMS

from mmsamdistill.arguments import check_choice, check_number
from mmsamdistill.datasets.transforms.base import OwnTransform


@TRANSFORMS.register_module()
class PadToPatch(OwnTransform):
    """Mirror images that are smaller than the patch at their lower and right border.

    Training sets of several sources (Rain13K, DFWB) have such images. Mirrored pixels keep their
    region, so that region maps are padded with their images.

    Args:
        keys: What is padded.
        size: Smallest height and width afterwards; larger images stay as they are.
        mode: 'symmetric' repeats the border pixel, as OpenCV's ``BORDER_REFLECT`` does; 'reflect'
            does not. Default: 'symmetric', as in the official code of Restormer, NAFNet and HINet.

    Raises:
        ValueError: If ``size`` is below 1 or ``mode`` is no mirror.
        KeyError: When run, if there is no such image.

    Example:
        >>> image = np.arange(6).reshape(2, 3, 1)
        >>> PadToPatch(['img'], size=4)({'img': image})['img'][..., 0].tolist()
        [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]]

    Source: swz30/Restormer: basicsr/utils/img_util.py.
    """

    geometric: ClassVar[str | bool] = 'keys'
    """One more key is one more image: a region map is padded as they are."""

    def __init__(self, keys: Sequence[str], size: int, mode: str = 'symmetric') -> None:
        check_number(1, size=size)
        check_choice(('symmetric', 'reflect'), mode=mode)
        self.keys = [keys] if isinstance(keys, str) else list(keys)
        self.size = size
        self.mode = mode

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pad what is too small."""
        return {**results, **{key: self._padded(self._get(results, key)) for key in self.keys}}

    def _padded(self, image: np.ndarray) -> np.ndarray:
        widths = [(0, max(0, self.size - length)) for length in image.shape[:2]]
        if not any(after for _, after in widths):
            return image
        return np.pad(image, [*widths, *[(0, 0)] * (image.ndim - 2)], mode=self.mode)
