"""What the processes of a group do; see processes.py."""

from __future__ import annotations

import functools
import os
import runpy
import sys
from pathlib import Path

import quick  # noqa: F401
import torch
import torch.distributed as dist
from mmagic.registry import MODELS
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from toy import batch, cascade_model, config, random_analyzer

from mmsamdistill.evaluation import RestorationMetric, SegmentationMetric, Segmenter


def call_tool(path: Path, *arguments: str) -> None:
    """Be a tool, in a session of its own."""
    os.setsid()
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name='__main__')


def train_cascade() -> list[str]:
    """Train a cascade by DDP; its weights, and buffers that DDP does not keep alike, must agree."""
    init_default_scope('mmagic')
    torch.manual_seed(0)
    parts = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': random_analyzer()}
    model = MODELS.build(cascade_model(**parts))
    # Its default, find_unused_parameters=False: a parameter without gradient stops the second step.
    distributed = MMDistributedDataParallel(model)
    optimiser = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    for step in range(3):
        data = batch(seed=10 * dist.get_rank() + step)
        if dist.get_rank() == 0:  # images without any region, in one process only
            for sample in data['data_samples']:
                sample.regions.zero_()
        distributed.train_step(data, optimiser)

    state = [*model.parameters(), *model.average.state_dict().values()]
    weights = torch.cat([value.detach().flatten() for value in state])
    gathered = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, weights)
    assert torch.equal(*gathered), 'the processes have drifted apart'
    assert torch.isfinite(weights).all()
    return list(distributed.state_dict())


class Watch(Hook):
    """Keeps the raw images after they were cropped."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(torch.stack([image.float() for image in data_batch['inputs']]).numpy())


def grow_patches(data: Path, out: Path) -> dict:
    """Train with growing patches, and give what this process has seen."""
    hook = {'type': 'ProgressivePatchHook', 'iters': [1, 1, 9]}
    hook |= {'patch_sizes': [8, 12, 16], 'batch_sizes': [2, 1, 1]}
    settings = config(data, out, cascade_model(), custom_hooks=[hook], launcher='pytorch')
    settings.model_wrapper_cfg = {'type': 'MMDistributedDataParallel', 'device_ids': None}
    settings.train_cfg.update(max_iters=3, val_interval=9)
    # The processes run already: MMEngine's own start wants a GPU.
    runner = Runner.from_cfg(settings)
    watch = Watch()
    runner.register_hook(watch, priority='VERY_LOW')
    runner.train()
    weights = torch.cat([p.detach().flatten() for p in runner.model.parameters()])
    return {'seen': watch.seen, 'weights': weights.numpy()}


def measure_three(metric, samples: list[list[dict]]) -> dict[str, float]:
    """Measure three images in two processes: the second gets the first again to fill up."""
    for sample in samples[dist.get_rank()]:
        metric.process(None, [sample])
    return metric.evaluate(3)


def measure_restoration() -> dict[str, float]:
    """PSNR of images that are wrong by 1, 2 and 3; the one to fill up by 50."""
    truth = torch.full((3, 8, 8), 100.0)
    images = [
        [{'gt_img': truth, 'output': {'pred_img': truth + shift}} for shift in shifts]
        for shifts in ([1, 3], [2, 50])
    ]
    metric = RestorationMetric('gopro_rgb', metrics=['PSNR'], collect_device='cpu')
    return measure_three(metric, images)


def measure_segmentation(folder: Path, labels: dict) -> dict[str, float]:
    """IoU of a network whose classes are red, green and blue."""
    load = functools.partial(torch.load, weights_only=True)
    images = [[load(folder / f'{index}.pt') for index in own] for own in ([0, 2], [1, 0])]
    network = Segmenter(torch.nn.Identity(), mean=(0, 0, 0), std=(1, 1, 1))
    options = {'suffix': ('', '_labels.png'), 'labels': labels, 'images': ['restored']}
    return measure_three(SegmentationMetric(network, str(folder), **options), images)
