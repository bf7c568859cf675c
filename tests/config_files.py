"""Reading the repository's configurations in tests."""

from functools import cache
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from mmagic.models.editors.nafnet.naf_avgpool2d import Local_Base, replace_layers
from mmagic.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

CONFIGS = Path(__file__).parents[1] / 'configs'
ALL = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.glob('**/*.py')
    if '_base_' not in path.parts
)
TWINS = [name for name in ALL if name.endswith('_samdistill.py')]
PLAIN = [name for name in ALL if name not in TWINS]
FOLDERS = sorted({name.split('/')[0] for name in ALL} - {'demo'})


@cache
def load(name):
    return Config.fromfile(CONFIGS / name)


def plain_of(name):
    return load(name.replace('_samdistill.py', '.py'))


def restorer_of(cfg):
    return cfg.model.get('restorer', cfg.model)


def train_set(cfg):
    dataset = cfg.train_dataloader.dataset
    return dataset.dataset if dataset.type == 'RegionDataset' else dataset


def as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def pipelines(cfg):
    loaders = [*as_list(cfg.val_dataloader), *as_list(cfg.test_dataloader)]
    return [train_set(cfg).pipeline, *(loader.dataset.pipeline for loader in loaders)]


def step_of(pipeline, kind):
    return next((step for step in pipeline if step.type == kind), None)


def build(model):
    """Build without memory: whole Restormers in milliseconds."""
    init_default_scope('mmagic')
    if 'restorer' in model:
        # With memory: the cascade reads the numbers of mean and std.
        preprocessor = MODELS.build(model['restorer']['data_preprocessor'])
        model = {**model, 'restorer': {**model['restorer'], 'data_preprocessor': preprocessor}}
    # MMagic's SwinIR computes with numbers while it is built.
    device = torch.device('cpu' if 'SwinIRNet' in str(model) else 'meta')
    # MMagic's NAFNetLocal replaces its layers, and then restores an image: a second without memory.
    with mock.patch.object(Local_Base, 'convert', replace_layers), device:
        return MODELS.build(model)


def red_image(folder, size=400):
    """Write an image whose channels cannot be confused, and return its path."""
    path = folder / 'red.png'
    cv2.imwrite(str(path), np.full((size, size, 3), (60, 120, 200), np.uint8))
    return str(path)


def run_pipeline(pipeline, path):
    return Compose([TRANSFORMS.build(step) for step in pipeline])(
        {'key': 'red', 'img_path': path, 'gt_path': path, 'sample_idx': 0}
    )
