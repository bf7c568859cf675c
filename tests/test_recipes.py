"""Recipes keep to what their authors published; which do not exist elsewhere is said."""

import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from config_files import (
    ALL,
    CONFIGS,
    FOLDERS,
    PLAIN,
    TWINS,
    build,
    load,
    restorer_of,
    step_of,
    train_set,
)
from mmengine.optim import CosineAnnealingLR

import mmsamdistill  # noqa: F401

NAFNET_CODE = 'megvii-research/NAFNet: basicsr/models/image_restoration_model.py (clip, no EMA)'
RESTORMER_CODE = 'swz30/Restormer: basicsr/models/image_restoration_model.py (clip, EMA off)'
NAFNET = {
    'loss': 'PSNRLoss',
    'optimizer': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 1e-3, 'betas': (0.9, 0.9)},
    'clip': 0.01,
    'patch': 256,
}
NAFNET_GOPRO = {
    'type': 'NAFNetLocal',
    'enc_blk_nums': [1, 1, 1, 28],
    'middle_blk_num': 1,
    'dec_blk_nums': [1, 1, 1, 1],
}
RESTORMER = {
    'loss': 'L1Loss',
    'optimizer': {'type': 'AdamW', 'lr': 3e-4, 'weight_decay': 1e-4, 'betas': (0.9, 0.999)},
    'clip': 0.01,
    'patch': 128,  # the alternative in the option files' comments to progressive patches
    'batch': 8 * 8,
    # Lengths in iterations and floors of the cosines that follow one another.
    'periods': [(92_000, 3e-4), (208_000, 1e-6)],
}
RESTORMER_NET = {
    'type': 'Restormer',
    'inp_channels': 3,
    'out_channels': 3,
    'dim': 48,
    'num_blocks': [4, 6, 6, 8],
    'num_refinement_blocks': 4,
    'heads': [1, 2, 4, 8],
    'ffn_expansion_factor': 2.66,
    'bias': False,
    'dual_pixel_task': False,
}


def _restormer(options, norm, y_channel=False, sigma=None):
    return {
        **RESTORMER,
        'source': (f'swz30/Restormer: {options}', RESTORMER_CODE),
        'generator': {**RESTORMER_NET, 'LayerNorm_type': norm},
        'y_channel': y_channel,
        'sigma': sigma,
    }


def _nafnet_gopro(width, batch, iterations):
    options = f'options/train/GoPro/NAFNet-width{width}.yml'
    return {
        **NAFNET,
        'source': (f'megvii-research/NAFNet: {options}', NAFNET_CODE),
        'generator': {**NAFNET_GOPRO, 'mid_channels': width},
        'batch': 8 * batch,
        'periods': [(iterations, 1e-7)],
        'y_channel': False,
        'sigma': None,
    }


# What the authors' option files say, and where. Recipes that are not here are ours.
PUBLISHED = {
    'nafnet/nafnet_c32eb11128mb1db1111_8xb4-lr1e-3-200k_gopro.py': _nafnet_gopro(32, 4, 200_000),
    'nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py': _nafnet_gopro(64, 8, 400_000),
    'restormer/restormer_8xb8-lr3e-4-300k_gopro.py': _restormer(
        'Motion_Deblurring/Options/Deblurring_Restormer.yml', 'WithBias'
    ),
    'restormer/restormer_8xb8-lr3e-4-300k_rain13k.py': _restormer(
        'Deraining/Options/Deraining_Restormer.yml', 'WithBias', y_channel=True
    ),
    **{
        f'restormer/restormer_8xb8-lr3e-4-300k_dfwb-color-sigma{sigma}.py': _restormer(
            f'Denoising/Options/GaussianColorDenoising_RestormerSigma{sigma}.yml',
            'BiasFree',
            sigma=sigma,
        )
        for sigma in (15, 25, 50)
    },
}
OURS = {
    'demo/nafnet_denoise.py',
    'nafnet/nafnet_c32eb11128mb1db1111_8xb8-lr1e-3-400k_rain13k.py',
    'nafnet/nafnet_c32eb2248mb12db2222_8xb8-lr1e-3-400k_dfwb-color-sigma50.py',
}


def test_every_recipe_is_published_or_ours():
    assert set(PLAIN) == set(PUBLISHED) | OURS
    assert {name.replace('_samdistill.py', '.py') for name in TWINS} == set(PLAIN)


@pytest.mark.parametrize('name', PUBLISHED)
def test_recipe_is_the_published_one(name):
    cfg, recipe = load(name), PUBLISHED[name]
    generator = cfg.model.generator
    assert {key: generator[key] for key in recipe['generator']} == recipe['generator']
    assert cfg.model.pixel_loss.type == recipe['loss']
    assert cfg.model.pixel_loss.get('loss_weight', 1.0) == 1.0
    assert cfg.optim_wrapper.optimizer.to_dict() == recipe['optimizer']
    assert cfg.optim_wrapper.clip_grad.to_dict() == {'max_norm': recipe['clip'], 'norm_type': 2}
    assert step_of(train_set(cfg).pipeline, 'PairedRandomCrop').gt_patch_size == recipe['patch']
    assert cfg.auto_scale_lr.to_dict() == {'enable': False, 'base_batch_size': recipe['batch']}
    gpus, images = map(int, re.search(r'_(\d+)xb(\d+)-', name).groups())
    assert gpus * images == gpus * cfg.train_dataloader.batch_size == recipe['batch']
    iterations = sum(length for length, _ in recipe['periods'])
    assert cfg.train_cfg.max_iters == iterations
    assert f'-{iterations // 1000}k_' in name
    assert not any('Average' in hook.type or 'EMA' in hook.type for hook in cfg.custom_hooks)
    noise = step_of(train_set(cfg).pipeline, 'AddGaussianNoise')
    assert (noise and noise.sigma) == recipe['sigma']
    assert all(m.protocol.startswith('rain_y') == recipe['y_channel'] for m in cfg.val_evaluator)


@pytest.mark.parametrize('name', [n for n in ALL if not n.startswith('demo')])
def test_gradients_are_clipped_as_in_the_official_code(name):
    assert load(name).optim_wrapper.clip_grad.max_norm == 0.01


def published_lr(iteration, base, periods):
    """Learning rate of cosines one after another, each starting at the base rate."""
    for length, floor in periods:
        if iteration < length:
            return floor + (base - floor) * (1 + math.cos(math.pi * iteration / length)) / 2
        iteration -= length
    return periods[-1][1]


@pytest.mark.parametrize('name', PUBLISHED)
def test_learning_rate_is_the_published_one(name):
    cfg, recipe = load(name), PUBLISHED[name]
    shrink = 1000  # iterations, so that the test is quick
    options = cfg.param_scheduler.to_dict()
    assert options.pop('type') == 'CosineAnnealingLR'
    for key in {'begin', 'end', 'T_max'} & options.keys():
        options[key] //= shrink
    optimizer = torch.optim.SGD(
        [torch.zeros(1, requires_grad=True)], cfg.optim_wrapper.optimizer.lr
    )
    scheduler = CosineAnnealingLR(optimizer, **options)
    periods = [(length // shrink, floor) for length, floor in recipe['periods']]
    for iteration in range(cfg.train_cfg.max_iters // shrink):
        expected = published_lr(iteration, recipe['optimizer']['lr'], periods)
        assert optimizer.param_groups[0]['lr'] == pytest.approx(expected, rel=1e-6), iteration
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize('folder', FOLDERS)
def test_metafile_and_readme_name_every_config(folder):
    metafile = yaml.safe_load((CONFIGS / folder / 'metafile.yml').read_text())
    collections = {collection['Name'] for collection in metafile['Collections']}
    listed = {model['Config']: model for model in metafile['Models']}
    assert set(listed) == {f'configs/{name}' for name in ALL if name.startswith(f'{folder}/')}
    readme = (CONFIGS / folder / 'README.md').read_text()
    for path, model in listed.items():
        assert model['Name'] == Path(path).stem
        assert model['In Collection'] in collections
        assert f'({Path(path).name})' in readme
    for link in re.findall(r'\]\(([^)#:]+)\)', readme):
        assert (CONFIGS / folder / link).exists(), link


@pytest.mark.parametrize('folder', FOLDERS)
def test_parameters_are_as_documented(folder):
    for model in yaml.safe_load((CONFIGS / folder / 'metafile.yml').read_text())['Models']:
        restorer = build(restorer_of(load(model['Config'].removeprefix('configs/'))))
        parameters = sum(p.numel() for p in restorer.generator.parameters())
        assert parameters == model['Metadata']['Parameters']
