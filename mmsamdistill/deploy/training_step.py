"""A step of training on synthetic images, to measure what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmsamdistill.deploy.settings import image_channels


def training_step(
    model: nn.Module,
    shape: tuple[int, int],
    device: torch.device,
    batch_size: int = 1,
    grid: int = 4,
) -> tuple[Callable[[], Any], OptimWrapper]:
    """Prepare one step: forward, backward and AdamW, whatever the config's optimiser.

    A common optimiser, since a difference of optimisers is not what is asked. Each image has a
    region map of ``grid`` x ``grid`` rectangles.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = OptimWrapper(torch.optim.AdamW(trained, lr=1e-6))
    channels = image_channels(getattr(model, 'restorer', model))

    def step() -> dict[str, Any]:
        model.train()
        return model.train_step(_batch(shape, device, channels, batch_size, grid), optimizer)

    return step, optimizer


def _batch(
    shape: tuple[int, int], device: torch.device, channels: int, batch_size: int, grid: int
) -> dict[str, Any]:
    from mmagic.structures import DataSample  # importable only after mmsamdistill

    height, width = shape
    generator = torch.Generator().manual_seed(0)
    size = (2, batch_size, channels, height, width)
    degraded, truth = torch.randint(0, 256, size, generator=generator).float().to(device)
    rows, columns = (torch.arange(length) * grid // length for length in shape)
    regions = (rows[:, None] * grid + columns + 1).int()[None].to(device)
    samples = []
    for image in truth:
        sample = DataSample(gt_img=image)
        sample.set_field(regions, 'regions')
        samples.append(sample)
    return {'inputs': list(degraded), 'data_samples': samples}
