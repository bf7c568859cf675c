"""Patches that grow while the batch shrinks."""

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsamdistill.engine.batches import crop_images, images_of, iteration_generator, select_images


@HOOKS.register_module()
class ProgressivePatchHook(Hook):
    """Train on small patches in large batches first, on large patches in small batches last.

    As in the official code, the data pipeline always gives the largest patch and the largest batch;
    each stage then draws some of the images without repetition, and one square out of all of
    them. Truths and region maps are cropped with their images. The stage is a function of the
    iteration alone and the draws are one of seed, process and iteration, so that a resumed run
    repeats an uninterrupted one; every process of a distributed run is in the same stage and draws
    its own images and square.

    In a configuration (the pipeline cuts 384, the dataloader gives 8)::

        custom_hooks = [dict(
            type='ProgressivePatchHook',
            iters=[92_000, 64_000, 48_000, 36_000, 36_000, 24_000],
            patch_sizes=[128, 160, 192, 256, 320, 384],
            batch_sizes=[8, 5, 4, 2, 1, 1])]

    Args:
        iters: Length of each stage in iterations. The last one goes on if the training does.
        patch_sizes: Height and width of the patches of each stage.
        batch_sizes: Images per GPU of each stage.

    Raises:
        TypeError: In training, if a batch is not one of single images.
        ValueError: If the lists differ in length, are empty or hold anything but positive whole
            numbers; in training, if the dataloader gives smaller patches or batches than a stage
            needs.

    Example:
        >>> hook = ProgressivePatchHook(iters=[10, 5], patch_sizes=[8, 16], batch_sizes=[4, 1])
        >>> [hook.stage_of(iteration) for iteration in (0, 9, 10, 14, 15)]
        [0, 0, 1, 1, 1]

    Source: Zamir et al., Restormer, CVPR 2022; swz30/Restormer: basicsr/train.py.
    """

    # Before hooks that mix the images of a batch, as in the official code.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self, iters: Sequence[int], patch_sizes: Sequence[int], batch_sizes: Sequence[int]
    ) -> None:
        lists = {'iters': iters, 'patch_sizes': patch_sizes, 'batch_sizes': batch_sizes}
        if not iters or len({len(values) for values in lists.values()}) != 1:
            raise ValueError(
                'iters, patch_sizes and batch_sizes need one entry for each stage, got '
                f'{[len(values) for values in lists.values()]}'
            )
        for name, values in lists.items():
            if not all(isinstance(value, int) and value > 0 for value in values):
                raise ValueError(f'{name} must be whole numbers above 0, got {list(values)}')
        self.ends = list(itertools.accumulate(iters))
        self.patch_sizes = list(patch_sizes)
        self.batch_sizes = list(batch_sizes)
        self._announced: int | None = None

    def stage_of(self, iteration: int) -> int:
        """Stage of an iteration."""
        return min(bisect.bisect_right(self.ends, iteration), len(self.ends) - 1)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Cut the batch down to what the stage wants."""
        stage = self.stage_of(runner.iter)
        size, count = self.patch_sizes[stage], self.batch_sizes[stage]
        if stage != self._announced:
            runner.logger.info(f'patches of {size}x{size}, {count} images per GPU from now on')
            self._announced = stage
        images = images_of(data_batch)
        _check_enough(images, size, count)
        generator = iteration_generator(runner, 'ProgressivePatchHook')
        if count < len(images):
            select_images(data_batch, generator.choice(len(images), count, replace=False).tolist())
        height, width = images[0].shape[-2:]
        if size < max(height, width):
            # The official code never draws the last position; here each has the same chance.
            top, left = (int(generator.integers(length - size + 1)) for length in (height, width))
            crop_images(data_batch, top, left, size)


def _check_enough(images: list[Any], size: int, count: int) -> None:
    if len(images) < count:
        raise ValueError(
            f'the dataloader gives {len(images)} images, this stage wants {count}: set '
            'train_dataloader.batch_size to the largest of batch_sizes; if it is, this is an '
            "epoch's last batch: use an InfiniteSampler, or train_dataloader.drop_last=True"
        )
    shapes = {tuple(image.shape[-2:]) for image in images}
    if len(shapes) > 1 or min(images[0].shape[-2:]) < size:
        raise ValueError(
            f'the data pipeline gives patches of {sorted(shapes)}, this stage wants {size}x{size}: '
            f'cut all of them to the largest of patch_sizes (PairedRandomCrop: gt_patch_size)'
        )
