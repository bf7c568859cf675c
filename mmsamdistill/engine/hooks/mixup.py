"""Mixing the images of a batch."""

from typing import Any

import numpy as np
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmsamdistill.arguments import check_flag, check_number, check_positive
from mmsamdistill.engine.batches import Batch, common_regions, images_of, iteration_generator


@HOOKS.register_module()
class MixupHook(Hook):
    r"""Train on mixtures of two images: degraded images, truths and region maps alike.

    .. math::
        x = \lambda x_i + (1 - \lambda) x_j, \quad y = \lambda y_i + (1 - \lambda) y_j,
        \quad \lambda \sim Beta(\alpha, \alpha)

    with :math:`j` a permutation of the batch. A mixture has the regions that both images have in
    common (:func:`common_regions`), since a label of one of them would hold together pixels that
    the other image keeps apart. The draws are a function of seed, process and iteration: see
    :func:`iteration_generator`.

    Restormer's denoisers mix half of the batches, with one weight for the batch: the defaults.
    MPRNet's denoiser mixes every batch from its sixth epoch on, with one weight an image:
    ``dict(type='MixupHook', alpha=0.6, probability=1.0, per_image=True, begin=30_000)``.

    Args:
        alpha: Of the Beta distribution. Default: 1.2.
        probability: How often a batch is mixed. Default: 0.5.
        per_image: Draw a weight for each image instead of one for the batch. Default: False.
        begin: Iterations before the first mixture. Default: 0.

    Raises:
        TypeError: In training, if a batch is not one of single images.
        ValueError: If an argument is out of range.

    Example:
        >>> MixupHook(alpha=0)
        Traceback (most recent call last):
        ...
        ValueError: alpha=0 must be a number above 0

    Source: Zhang et al., mixup, ICLR 2018; swz30/Restormer:
        basicsr/models/image_restoration_model.py and swz30/MPRNet: Denoising/utils/dataset_utils.py
        (how often, which weights); the regions of a mixture are ours.
    """

    # After ProgressivePatchHook, as in the official code.
    priority = 'NORMAL'

    def __init__(
        self, alpha: float = 1.2, probability: float = 0.5, per_image: bool = False, begin: int = 0
    ) -> None:
        check_positive(alpha=alpha)
        check_number(0, begin=begin)
        check_flag(per_image=per_image)
        if not 0 <= probability <= 1:
            raise ValueError(f'probability must be in 0..1, got {probability}')
        self.alpha = alpha
        self.probability = probability
        self.per_image = per_image
        self.begin = begin

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Mix the batch, or leave it."""
        generator = iteration_generator(runner, 'MixupHook')
        if runner.iter < self.begin or generator.random() >= self.probability:
            return
        number = len(images_of(data_batch))
        draws = generator.beta(self.alpha, self.alpha, number if self.per_image else 1)
        mix_batch(data_batch, generator.permutation(number), np.resize(draws, number))


def mix_batch(batch: Batch, partners: np.ndarray, weights: np.ndarray) -> None:
    """Mix every image of a batch with another one of it."""
    images, samples = images_of(batch), batch['data_samples']
    # As they are: each image is also the partner of another.
    truths = [sample.gt_img for sample in samples]
    regions = [sample.get('regions') for sample in samples]
    batch['inputs'] = [
        _mixed(image, images[partner], weight)
        for image, partner, weight in zip(images, partners, weights, strict=True)
    ]
    for index, (sample, partner) in enumerate(zip(samples, partners, strict=True)):
        sample.set_field(_mixed(truths[index], truths[partner], weights[index]), 'gt_img')
        if regions[index] is not None and partner != index:
            sample.set_field(common_regions(regions[index], regions[partner]), 'regions')


def _mixed(image: Tensor, partner: Tensor, weight: float) -> Tensor:
    return float(weight) * image.float() + (1 - float(weight)) * partner.float()
