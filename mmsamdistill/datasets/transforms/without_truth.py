"""Images without a ground truth, among others that have one."""

from typing import Any

import numpy as np
from mmagic.registry import TRANSFORMS

from mmsamdistill.datasets.transforms.base import OwnTransform

# What loading a truth leaves behind: samples of one batch have to have the same entries.
_TRACES = ('{}_path', 'ori_{}_shape', '{}_channel_order', '{}_color_type')


@TRANSFORMS.register_module()
class WithoutTruth(OwnTransform):
    """Mark images that have no ground truth: ``SAMDistillRestorer`` teaches them by SPD and SGR.

    In place of a truth goes an image of NaN, which every crop and flip carries along like any
    other. A model that does not know the mark gets a loss of NaN, not a wrong one.

    Goes after the transforms that load, in the pipeline of the images without truth, which are
    mixed with the others by ``ConcatDataset`` and :class:`MixedSampler`. A truth that is there is
    thrown away, which shows in an experiment what it is worth.

    In joint training with ``teacher_input='restored'`` the target of such an image comes from the
    student's own result, and no truth holds either: measured to do harm (``docs/results.md``).

    Args:
        key: The degraded image. Default: ``'img'``.
        truth: Where the truth would be. Default: ``'gt'``.

    Example:
        >>> results = WithoutTruth()({'img': np.zeros((2, 2, 3), np.uint8), 'img_path': '1.png'})
        >>> bool(np.isnan(results['gt']).all()), results['gt_path']
        (True, '1.png')
    """

    geometric = False  # leaves every pixel where it is

    def __init__(self, key: str = 'img', truth: str = 'gt') -> None:
        self.key = key
        self.truth = truth

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Put the mark in the truth's place."""
        image = self._get(results, self.key, 'put it after the transforms that load images')
        results[self.truth] = np.full(image.shape, np.nan, np.float32)
        for trace in _TRACES:
            if trace.format(self.key) in results:
                results.setdefault(trace.format(self.truth), results[trace.format(self.key)])
        return results
