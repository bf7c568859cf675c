"""A world small enough to train in: tiny restorers, four tiny images, synthetic regions."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

SIZE = 32

NAFNET = {
    'type': 'BaseEditModel',
    'generator': {
        'type': 'NAFNet',
        'img_channels': 3,
        'mid_channels': 4,
        'enc_blk_nums': [1],
        'middle_blk_num': 1,
        'dec_blk_nums': [1],
    },
    'pixel_loss': {'type': 'PSNRLoss'},
    'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3},
}


@MODELS.register_module()
class ToyNet(nn.Module):
    """A user's own restorer: no relation to MMagic but the registry."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x):
        return x + self.last(self.first(x).relu())


@MODELS.register_module()
class ToyDropoutNet(ToyNet):
    """Draws random numbers while it trains, which a resumed run has to repeat."""

    def forward(self, x):
        hidden = nn.functional.dropout(self.first(x).relu(), 0.5, self.training)
        return x + self.last(hidden)


@MODELS.register_module()
class ToyUpsampler(nn.Module):
    """Changes the image's size, which the cascade must refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return nn.functional.interpolate(self.conv(x), scale_factor=2)


def plain_model(generator: dict | None = None, **changes: object) -> dict:
    """Config of a plain restorer; the toy network by default."""
    config = copy.deepcopy(NAFNET)
    config['generator'] = generator or {'type': 'ToyNet'}
    return {**config, **changes}


def cascade_model(restorer: dict | None = None, **parts: object) -> dict:
    """Config of the cascade around a plain restorer, without SGR unless asked for."""
    defaults = {'sgr_loss': None, 'regions': {'type': 'CachedRegions'}, 'spf': small_spf()}
    return {
        'type': 'SAMDistillRestorer',
        'restorer': restorer or plain_model(),
        **{**defaults, **parts},
    }


def small_spf() -> dict:
    """SPF that costs nothing."""
    return {'type': 'SPFHead', 'channels': 4, 'depth': 1}


def random_analyzer() -> dict:
    """VGG of the real class, shallow and with random weights."""
    return {'type': 'VGGAnalyzer', 'weights': 'random', 'layers': ('relu1_2',)}


def write_data(root: Path, count: int = 4) -> Path:
    """Write images, noisy copies and region maps: four flat quarters of random colours each."""
    generator = np.random.default_rng(0)
    for folder in ('gt', 'img', 'regions'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        labels = np.ones((SIZE, SIZE), np.uint16)
        labels[SIZE // 2 :] += 1
        labels[:, SIZE // 2 :] += 2
        clean = generator.integers(40, 216, (5, 3))[labels].astype(np.float64)
        noisy = clean + generator.normal(0, 25, clean.shape)
        cv2.imwrite(str(root / 'gt' / f'{index}.png'), clean.astype(np.uint8))
        cv2.imwrite(str(root / 'img' / f'{index}.png'), noisy.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(root / 'regions' / f'{index}.png'), labels)
    return root


def config(data: Path, work_dir: Path, model: dict, **changes: object) -> Config:
    """Config of a whole training run of three steps on the toy data."""
    load = [
        {'type': 'LoadImageFromFile', 'key': key, 'channel_order': 'rgb'} for key in ('img', 'gt')
    ]
    dataset = {
        'type': 'BasicImageDataset',
        'metainfo': {'dataset_type': 'toy', 'task_name': 'denoising'},
        'data_root': str(data),
        'data_prefix': {'gt': 'gt', 'img': 'img'},
        'pipeline': [
            *load,
            {'type': 'SetValues', 'dictionary': {'scale': 1}},
            {'type': 'PairedRandomCrop', 'gt_patch_size': 16},
            {'type': 'Flip', 'keys': ['img', 'gt'], 'flip_ratio': 0.5, 'direction': 'horizontal'},
            {'type': 'PackInputs'},
        ],
    }
    if model['type'] == 'SAMDistillRestorer':
        train = {'type': 'RegionDataset', 'dataset': dataset, 'regions': str(data / 'regions')}
    else:
        train = dataset
    validation = {**dataset, 'pipeline': [*load, {'type': 'PackInputs'}]}
    settings = {
        'default_scope': 'mmagic',
        'custom_imports': {'imports': ['mmsamdistill'], 'allow_failed_imports': False},
        'work_dir': str(work_dir),
        'model': model,
        'train_dataloader': _loader(train, 'InfiniteSampler', shuffle=True, batch_size=2),
        'val_dataloader': _loader(validation, 'DefaultSampler', shuffle=False),
        'test_dataloader': _loader(validation, 'DefaultSampler', shuffle=False),
        'val_evaluator': [{'type': 'PSNR'}],
        'test_evaluator': [{'type': 'PSNR'}],
        'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': 4},
        'val_cfg': {'type': 'MultiValLoop'},
        'test_cfg': {'type': 'MultiTestLoop'},
        'optim_wrapper': {
            'type': 'OptimWrapper',
            'optimizer': {'type': 'AdamW', 'lr': 1e-3},
        },
        'param_scheduler': {'type': 'CosineAnnealingLR', 'by_epoch': False, 'T_max': 4},
        'default_hooks': {
            'logger': {'type': 'LoggerHook', 'interval': 1},
            'checkpoint': {'type': 'CheckpointHook', 'interval': 2, 'by_epoch': False},
        },
        'custom_hooks': [{'type': 'RandomStateHook'}],
        'log_level': 'ERROR',
        'randomness': {'seed': 0},
        'experiment_name': work_dir.name,
    }
    return Config({**settings, **changes})


def run_training(settings: Config) -> Runner:
    """Train as the config says."""
    runner = Runner.from_cfg(settings)
    runner.train()
    return runner


def batch(count: int = 2, size: int = 16, regions: bool = True, seed: int = 0) -> dict:
    """Raw batch as a dataloader gives it."""
    from mmagic.structures import DataSample

    generator = torch.Generator().manual_seed(seed)
    samples, images = [], []
    for _ in range(count):
        truth = torch.randint(0, 256, (3, size, size), generator=generator).float()
        noise = 20 * torch.randn(truth.shape, generator=generator)
        sample = DataSample(gt_img=truth)
        sample.set_metainfo({'img_channel_order': 'rgb', 'gt_channel_order': 'rgb'})
        # Drawn in any case, so that the images are the same with and without.
        labels = torch.randint(0, 4, (1, size, size), generator=generator, dtype=torch.int32)
        if regions:
            sample.set_field(labels, 'regions')
        images.append((truth + noise).clamp(0, 255))
        samples.append(sample)
    return {'inputs': images, 'data_samples': samples}


def _loader(dataset: dict, sampler: str, shuffle: bool, batch_size: int = 1) -> dict:
    return {
        'num_workers': 0,
        'batch_size': batch_size,
        'persistent_workers': False,
        'sampler': {'type': sampler, 'shuffle': shuffle},
        'dataset': dataset,
    }
