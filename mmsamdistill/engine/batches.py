"""Changing a raw batch between dataloader and model: images, truths and region maps alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import Runner
from torch import Tensor

from mmsamdistill.images.finding import sample_path

Batch = dict[str, Any]


def images_of(batch: Batch) -> list[Tensor]:
    """Degraded images of a raw batch, as a list."""
    inputs, samples = batch.get('inputs'), batch.get('data_samples')
    images = list(inputs) if isinstance(inputs, Tensor | list | tuple) else []
    if not images or not all(isinstance(image, Tensor) and image.dim() == 3 for image in images):
        raise TypeError(
            f'`inputs` of the batch must be (C, H, W) tensors, got {type(inputs).__name__}; pack '
            "one image a sample: dict(type='PackInputs') with 'img' alone"
        )
    if not isinstance(samples, list | tuple) or len(samples) != len(images):
        raise TypeError(
            f'the batch must list {len(images)} data samples, got {type(samples).__name__}'
        )
    return images


def files_of(batch: Any) -> list[str]:
    """Files that a batch came from, as far as its data samples know them."""
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    samples = samples if isinstance(samples, list | tuple) else ()
    found = dict.fromkeys(sample_path(getattr(each, 'metainfo', {})) for each in samples)
    return list(filter(None, found))


def select_images(batch: Batch, indices: Sequence[int]) -> None:
    """Keep some images of a batch, with their data samples; the batch is changed in place."""
    images, samples = images_of(batch), batch['data_samples']
    batch['inputs'] = [images[index] for index in indices]
    batch['data_samples'] = [samples[index] for index in indices]


def crop_images(batch: Batch, top: int, left: int, size: int) -> None:
    """Cut the same square, in place, out of all images of a batch and of what lies over them.

    Whatever a data sample holds that has its image's height and width is cropped as well: the
    truth, the region map, a mask.
    """
    images = images_of(batch)
    for image, sample in zip(images, batch['data_samples'], strict=True):
        height, width = image.shape[-2:]
        if min(top, left) < 0 or top + size > height or left + size > width:
            raise ValueError(
                f'cannot crop {size}x{size} at ({top}, {left}) out of an image of {height}x{width}'
            )
        # Whatever lies over the image is told by its size.
        for name, value in list(sample.items()):
            if not isinstance(value, Tensor) or value.dim() < 2:
                continue
            if value.shape[-2:] != image.shape[-2:]:
                raise ValueError(
                    f'{name} of {tuple(value.shape[-2:])} pixels beside an image of '
                    f'{(height, width)}: only what has the size of its image can be cropped with it'
                )
            sample.set_field(value[..., top : top + size, left : left + size], name)
    batch['inputs'] = [image[..., top : top + size, left : left + size] for image in images]


def common_regions(first: Tensor, second: Tensor) -> Tensor:
    """Regions of two images seen through one another: the regions of one within those of the other.

    Two pixels are in the same region if both maps say so, and in none if either map says so. What
    is uniform over a region in either image is then uniform over the region in their mixture.
    """
    if first.shape != second.shape:
        raise ValueError(
            f'label maps of {tuple(first.shape)} and {tuple(second.shape)} lie over no one image'
        )
    # One number for each pair of labels, 0 where one of them is none; then 1 to K.
    pairs = first.long() * (int(second.max()) + 1) + second.long()
    pairs[(first == 0) | (second == 0)] = 0
    values, ranks = torch.unique(pairs, return_inverse=True)
    return (ranks + int(values[0] != 0)).to(first.dtype)


def iteration_generator(runner: Runner, purpose: str) -> np.random.Generator:
    """Random numbers of one training iteration.

    They depend on the run's seed, the process, the iteration and the purpose, and on nothing that
    was drawn before: a resumed run draws what an uninterrupted one would have drawn, and nothing
    else in the run draws differently because of it.
    """
    key = int.from_bytes(purpose.encode(), 'little')
    return np.random.default_rng([runner.seed, get_rank(), runner.iter, key])
