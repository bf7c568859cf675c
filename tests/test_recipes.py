"""Recipes keep to what their authors published; which do not exist elsewhere is said."""

import itertools
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
    as_list,
    build,
    load,
    restorer_of,
    step_of,
    train_set,
)
from mmengine.registry import PARAM_SCHEDULERS

import mmsamdistill  # noqa: F401


# Learning rates as the official code computes them, by iterations done (the first step is 0).
def cosines(*periods):
    """Cosines one after another, each from the base rate down to its floor."""

    def rate(iteration, base):
        for length, floor in periods:
            if iteration < length:
                return floor + (base - floor) * (1 + math.cos(math.pi * iteration / length)) / 2
            iteration -= length
        return periods[-1][1]

    return rate


def decays(milestones, gamma):
    """A factor at each milestone."""
    return lambda iteration, base: base * gamma ** sum(iteration >= m for m in milestones)


def warm_cosine(warmup, length, floor):
    """HINet's: a ramp in place of the cosine's beginning; both count from the first iteration."""

    def rate(iteration, base):
        if iteration + 1 < warmup:
            return base * (iteration + 1) / warmup
        return cosines((length, floor))(iteration, base)

    return rate


def warm_epochs(epoch, warmup, length, floor):
    """MPRNet's: a rate an epoch, a ramp up to the base rate, then a cosine of so many epochs."""

    def rate(iteration, base):
        number = iteration // epoch + 1
        if number <= warmup:
            return base * number / warmup
        return floor + (base - floor) * (1 + math.cos(math.pi * (number - 4) / length)) / 2

    rate.epoch = epoch
    return rate


FLIPS = ['Flip horizontal', 'Flip vertical', 'RandomTransposeHW']
# Of the recipes below, unless they say otherwise.
COMMON = {
    'clip': None,
    'flips': FLIPS,
    'padded': False,
    'sigma': None,
    'saturation': None,
    'averaged': None,
    'progressive': None,
    'mixup': None,
    'loss_weight': 1.0,
    'load_from': None,
}

NAFNET = {
    **COMMON,
    'loss': 'PSNRLoss',
    'optimizer': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 1e-3, 'betas': (0.9, 0.9)},
    'clip': 0.01,
    'patch': 256,
}
NAFNET_CODE = 'megvii-research/NAFNet: basicsr/models/image_restoration_model.py (clip, no EMA)'


def _nafnet(task, width, images, iterations):
    options = f'options/train/{task}/NAFNet-width{width}.yml'
    recipe = {
        **NAFNET,
        'source': (f'megvii-research/NAFNet: {options}', NAFNET_CODE),
        'batch': (8, images),
        'iterations': iterations,
        'rate': cosines((iterations, 1e-7)),
    }
    if task == 'SIDD':
        optimizer = {**NAFNET['optimizer'], 'weight_decay': 0.0}
        blocks = {'type': 'NAFNet', 'enc_blk_nums': [2, 2, 4, 8], 'middle_blk_num': 12}
        blocks |= {'dec_blk_nums': [2, 2, 2, 2]}
        recipe |= {'optimizer': optimizer, 'flips': [], 'protocol': 'sidd_rgb'}
    else:
        blocks = {'type': 'NAFNetLocal', 'enc_blk_nums': [1, 1, 1, 28], 'middle_blk_num': 1}
        blocks |= {'dec_blk_nums': [1, 1, 1, 1]}
        recipe |= {'protocol': 'gopro_rgb'}
    return {**recipe, 'generator': {**blocks, 'mid_channels': width}}


RESTORMER = {
    **COMMON,
    'loss': 'L1Loss',
    'optimizer': {'type': 'AdamW', 'lr': 3e-4, 'weight_decay': 1e-4, 'betas': (0.9, 0.999)},
    'clip': 0.01,
    'patch': 384,
    'batch': (8, 8),
    'iterations': 300_000,
    'rate': cosines((92_000, 3e-4), (208_000, 1e-6)),
    'progressive': {
        'iters': [92_000, 64_000, 48_000, 36_000, 36_000, 24_000],
        'patch_sizes': [128, 160, 192, 256, 320, 384],
        'batch_sizes': [8, 5, 4, 2, 1, 1],
    },
}
RESTORMER_CODE = 'swz30/Restormer: basicsr/models/image_restoration_model.py (clip, mixup, EMA off)'
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


def _restormer(options, protocol, norm='BiasFree', **changes):
    mixup = {'alpha': 1.2, 'probability': 0.5} if norm == 'BiasFree' else None  # denoising
    return {
        **RESTORMER,
        'source': (f'swz30/Restormer: {options}', RESTORMER_CODE),
        'generator': {**RESTORMER_NET, 'LayerNorm_type': norm},
        'protocol': protocol,
        'mixup': mixup,
        **changes,
    }


SWINIR_NET = {
    'type': 'SwinIRNet',
    'upscale': 1,
    'in_chans': 3,
    'img_size': 128,
    'window_size': 8,
    'img_range': 1.0,
    'depths': [6] * 6,
    'embed_dim': 180,
    'num_heads': [6] * 6,
    'mlp_ratio': 2,
    'resi_connection': '1conv',
}


def _swinir(sigma):
    halved = 1 if sigma == 15 else 2  # fine-tuned from the weights for sigma 15
    milestones = [800_000, 1_200_000, 1_400_000, 1_500_000, 1_600_000]
    return {
        **COMMON,
        'source': (
            'cszn/KAIR: options/swinir/train_swinir_denoising_color.json',
            'cszn/KAIR: docs/README_SwinIR.md (fine-tuning), utils/utils_option.py (betas)',
        ),
        'generator': SWINIR_NET,
        'loss': 'CharbonnierLoss',
        'eps': 1e-9,
        'optimizer': {
            'type': 'Adam',
            'lr': 2e-4 / halved,
            'weight_decay': 0.0,
            'betas': (0.9, 0.999),
        },
        'patch': 128,
        'batch': (8, 1),
        'iterations': 1_600_000 // halved,
        'rate': decays([m // halved for m in milestones], 0.5),
        'averaged': 1 - 0.999,
        'sigma': sigma,
        'protocol': 'denoise_rgb',
        'load_from': None if sigma == 15 else 'sigma15/iter_1600000.pth',
    }


def _hinet(task, hin_levels, protocol, rate, **changes):
    return {
        **COMMON,
        'source': (
            f'megvii-model/HINet: options/train/{task}/HINet.yml',
            'megvii-model/HINet: basicsr/models/image_restoration_model.py (clip)',
            'megvii-model/HINet: basicsr/models/base_model.py (warm-up)',
        ),
        'generator': {'type': 'HINet', 'mid_channels': 64, 'hin_levels': hin_levels},
        'loss': 'PSNRLoss',
        'loss_weight': 0.5,
        'optimizer': {'type': 'Adam', 'lr': 2e-4, 'weight_decay': 0.0, 'betas': (0.9, 0.99)},
        'clip': 0.01,
        'patch': 256,
        'batch': (8, 8),
        'iterations': 400_000,
        'rate': rate,
        'protocol': protocol,
        **changes,
    }


def _mprnet(task, protocol, sizes, epoch, epochs, **changes):
    charbonnier = {'type': 'CharbonnierLoss', 'eps': 1e-3**2, 'reduction': 'mean'}
    edge = {'type': 'EdgeLoss', 'loss_weight': 0.05, 'eps': 1e-3}
    channels = dict(zip(('mid_channels', 'unet_growth', 'full_growth'), sizes, strict=True))
    return {
        **COMMON,
        'source': (
            f'swz30/MPRNet: {task}/training.yml, train.py, losses.py, dataset_RGB.py, MPRNet.py',
            f'swz30/MPRNet: {task}/utils/dataset_utils.py (mixup)',
            'swz30/MPRNet: pytorch-gradual-warmup-lr/warmup_scheduler/scheduler.py',
        ),
        'generator': {'type': 'MPRNet', **channels},
        'loss': 'SummedLoss',
        'losses': {'pixel': charbonnier, 'edge': edge},
        'optimizer': {'type': 'Adam', 'lr': 2e-4, 'weight_decay': 0.0, 'betas': (0.9, 0.999)},
        'patch': 256,
        'batch': (4, 4),
        'iterations': epoch * epochs,
        'rate': warm_epochs(epoch, 3, epochs - 3, 1e-6),
        'protocol': protocol,
        **changes,
    }


# What the authors' option files say, and where. Recipes that are not here are ours.
PUBLISHED = {
    'nafnet/nafnet_c32eb11128mb1db1111_8xb4-lr1e-3-200k_gopro.py': _nafnet('GoPro', 32, 4, 200_000),
    'nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py': _nafnet('GoPro', 64, 8, 400_000),
    'nafnet/nafnet_c32eb2248mb12db2222_8xb4-lr1e-3-200k_sidd.py': _nafnet('SIDD', 32, 4, 200_000),
    'nafnet/nafnet_c64eb2248mb12db2222_8xb8-lr1e-3-400k_sidd.py': _nafnet('SIDD', 64, 8, 400_000),
    'restormer/restormer_8xb8-lr3e-4-300k_gopro.py': _restormer(
        'Motion_Deblurring/Options/Deblurring_Restormer.yml', 'gopro_rgb', 'WithBias'
    ),
    'restormer/restormer_8xb8-lr3e-4-300k_rain13k.py': _restormer(
        'Deraining/Options/Deraining_Restormer.yml', 'rain_y_matlab', 'WithBias', padded=True
    ),
    'restormer/restormer_8xb8-lr3e-4-300k_sidd.py': _restormer(
        'Denoising/Options/RealDenoising_Restormer.yml', 'sidd_rgb'
    ),
    'restormer/restormer_8xb8-lr3e-4-300k_dfwb-color-blind.py': _restormer(
        'Denoising/Options/GaussianColorDenoising_Restormer.yml',
        'denoise_rgb',
        sigma=[0, 50],
        padded=True,
    ),
    **{
        f'restormer/restormer_8xb8-lr3e-4-300k_dfwb-color-sigma{sigma}.py': _restormer(
            f'Denoising/Options/GaussianColorDenoising_RestormerSigma{sigma}.yml',
            'denoise_rgb',
            sigma=sigma,
            padded=True,
        )
        for sigma in (15, 25, 50)
    },
    'swinir/swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-color-sigma15.py': _swinir(15),
    'swinir/swinir_s128w8d6e180_8xb1-lr1e-4-800k_dfwb-color-sigma25.py': _swinir(25),
    'swinir/swinir_s128w8d6e180_8xb1-lr1e-4-800k_dfwb-color-sigma50.py': _swinir(50),
    'hinet/hinet_c64_8xb8-lr2e-4-400k_gopro.py': _hinet(
        'GoPro', (3, 4), 'gopro_rgb', cosines((400_000, 1e-7))
    ),
    'hinet/hinet_c64_8xb8-lr2e-4-400k_rain13k.py': _hinet(
        'Rain13k', (0, 4), 'rain_y_matlab', warm_cosine(10_000, 400_000, 1e-7), padded=True
    ),
    # Epochs of 13,712 and 2,103 pairs and of 300 patches of each of 320 pairs, in batches of 16.
    'mprnet/mprnet_c40_4xb4-lr2e-4-214k_rain13k.py': _mprnet(
        'Deraining', 'rain_y_matlab', (40, 20, 16), math.ceil(13_712 / 16), 250, padded=True
    ),
    'mprnet/mprnet_c96_4xb4-lr2e-4-396k_gopro.py': _mprnet(
        'Deblurring',
        'gopro_rgb',
        (96, 48, 32),
        math.ceil(2_103 / 16),
        3000,
        saturation=(1 / 3, 0.2),
    ),
    'mprnet/mprnet_c80_4xb4-lr2e-4-480k_sidd.py': _mprnet(
        'Denoising',
        'sidd_rgb',
        (80, 48, 32),
        320 * 300 // 16,
        80,
        loss='CharbonnierLoss',
        losses=None,
        eps=1e-3**2,
        patch=128,
        rate=warm_epochs(6000, 3, 80 - 3 + 40, 1e-6),
        mixup={'alpha': 0.6, 'probability': 1.0, 'per_image': True, 'begin': 5 * 6000},
    ),
}
OURS = {
    'demo/nafnet_denoise.py',
    'prenet/prenet_1xb18-lr1e-3-105k_rain13k.py',
    'nafnet/nafnet_c32eb11128mb1db1111_8xb8-lr1e-3-400k_rain13k.py',
    'nafnet/nafnet_c32eb2248mb12db2222_8xb8-lr1e-3-400k_dfwb-color-sigma50.py',
}


def test_every_recipe_is_published_or_ours():
    assert set(PLAIN) == set(PUBLISHED) | OURS
    assert {name.replace('_samdistill.py', '.py') for name in TWINS} == set(PLAIN)


@pytest.mark.parametrize('name', PUBLISHED)
def test_model_and_optimiser_are_the_published_ones(name):
    cfg, recipe = load(name), PUBLISHED[name]
    generator = cfg.model.generator.to_dict()
    assert {key: generator[key] for key in recipe['generator']} == recipe['generator']
    loss = cfg.model.pixel_loss
    assert (loss.type, loss.get('loss_weight', 1.0)) == (recipe['loss'], recipe['loss_weight'])
    assert loss.get('eps') == recipe.get('eps')
    assert loss.get('losses') == recipe.get('losses')
    assert cfg.model.data_preprocessor.output_channel_order == 'RGB'
    assert cfg.optim_wrapper.optimizer.to_dict() == recipe['optimizer']
    clip = recipe['clip'] and {'max_norm': recipe['clip'], 'norm_type': 2}
    assert cfg.optim_wrapper.get('clip_grad') == clip
    hooks = {hook.type: hook for hook in cfg.custom_hooks}
    averaged = hooks.get('EMAHook', {}).get('momentum')
    assert averaged == pytest.approx(recipe['averaged'])
    assert (cfg.load_from or '').endswith(recipe['load_from'] or '')
    assert bool(cfg.load_from) == bool(recipe['load_from'])


@pytest.mark.parametrize('name', PUBLISHED)
def test_data_are_cut_and_changed_as_published(name):
    cfg, recipe = load(name), PUBLISHED[name]
    pipeline = train_set(cfg).pipeline
    assert step_of(pipeline, 'PairedRandomCrop').gt_patch_size == recipe['patch']
    padded = step_of(pipeline, 'PadToPatch')
    assert (padded and padded.size) == (recipe['patch'] if recipe['padded'] else None)
    kinds = [f'{s.type} {s.get("direction", "")}'.strip() for s in pipeline]
    assert [kind for kind in kinds if kind in FLIPS] == recipe['flips']
    ratios = [s.get('flip_ratio', s.get('transpose_ratio')) for s in pipeline]
    assert {ratio for ratio in ratios if ratio is not None} <= {0.5}
    noise, jitter = (step_of(pipeline, kind) for kind in ('AddGaussianNoise', 'RandomApply'))
    assert (noise and noise.sigma) == recipe['sigma']
    assert (jitter and (jitter.prob, jitter.transforms[0].saturation)) == recipe['saturation']
    hooks = {hook.type: hook.to_dict() for hook in cfg.custom_hooks}
    for kind, entry in (('ProgressivePatchHook', 'progressive'), ('MixupHook', 'mixup')):
        expected = recipe[entry] and {'type': kind, **recipe[entry]}
        assert hooks.get(kind) == expected
    assert {metric.protocol for metric in cfg.val_evaluator} == {recipe['protocol']}


@pytest.mark.parametrize('name', PUBLISHED)
def test_batch_and_length_are_the_published_ones(name):
    cfg, recipe = load(name), PUBLISHED[name]
    gpus, images = recipe['batch']
    assert tuple(map(int, re.search(r'_(\d+)xb(\d+)-', name).groups())) == (gpus, images)
    assert cfg.train_dataloader.batch_size == images
    assert cfg.train_cfg.max_iters == recipe['iterations']
    assert f'-{round(recipe["iterations"] / 1000)}k_' in name
    assert f'lr{recipe["optimizer"]["lr"]:.0e}'.replace('e-0', 'e-') in name


@pytest.mark.parametrize('name', [n for n in ALL if not n.startswith('demo')])
def test_learning_rates_can_be_scaled_to_the_batch(name):
    gpus, images = map(int, re.search(r'_(\d+)xb(\d+)-', name).groups())
    scale = {'enable': False, 'base_batch_size': gpus * images}
    assert load(name).auto_scale_lr.to_dict() == scale


@pytest.mark.parametrize('name', sorted(OURS))
def test_our_recipes_keep_what_their_network_was_trained_with(name):
    cfg = load(name)
    if name.startswith('nafnet'):
        assert cfg.optim_wrapper.clip_grad.max_norm == 0.01
        assert cfg.optim_wrapper.optimizer.to_dict() == NAFNET['optimizer']
    elif name.startswith('prenet'):  # csdwren/PReNet: train_PReNet.py, DerainDataset.py
        optimizer = {'type': 'Adam', 'lr': 1e-3, 'weight_decay': 0.0, 'betas': (0.9, 0.999)}
        assert cfg.optim_wrapper.optimizer.to_dict() == optimizer
        assert cfg.optim_wrapper.get('clip_grad') is None
        assert cfg.train_dataloader.batch_size == 18
        assert step_of(train_set(cfg).pipeline, 'PairedRandomCrop').gt_patch_size == 100
        assert not any(step.type == 'Flip' for step in train_set(cfg).pipeline)
        assert cfg.model.pixel_loss.type == 'SSIMLoss'
        assert cfg.param_scheduler.gamma == 0.2
        fractions = [m / cfg.train_cfg.max_iters for m in cfg.param_scheduler.milestones]
        assert fractions == [0.3, 0.5, 0.8]


def shrunk(scheduler, unit, to):
    """Scheduler whose lengths of whole units are that much shorter, so that a test is quick."""
    options = scheduler.to_dict()
    for key in {'begin', 'end', 'T_max'} & options.keys():
        options[key] = options[key] // unit * to + options[key] % unit
    if 'milestones' in options:
        options['milestones'] = [m // unit * to for m in options['milestones']]
    return PARAM_SCHEDULERS.get(options.pop('type')), options


def configured_rates(cfg, iterations, unit, to):
    optimizer = torch.optim.SGD(
        [torch.zeros(1, requires_grad=True)], cfg.optim_wrapper.optimizer.lr
    )
    built = [shrunk(each, unit, to) for each in as_list(cfg.param_scheduler)]
    schedulers = [kind(optimizer, **options) for kind, options in built]
    for _ in range(iterations):
        yield optimizer.param_groups[0]['lr']
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize('name', PUBLISHED)
def test_learning_rate_is_the_published_one(name):
    cfg, recipe = load(name), PUBLISHED[name]
    official, base = recipe['rate'], recipe['optimizer']['lr']
    # By name of the schedule: length of a unit, what it is shrunk to, iterations, tolerance. A ramp
    # by iterations is not the same ramp when it is shrunk: its steps are taken one by one.
    unit, to, count, tolerance = {
        'warm_cosine': (1, 1, 20_000, 2e-3),
        'warm_epochs': (getattr(official, 'epoch', 0), 4, 4 * recipe['iterations'], 1e-6),
    }.get(official.__qualname__.split('.')[0], (1000, 1, recipe['iterations'], 1e-6))
    rates = configured_rates(cfg, count // unit, unit, to)
    # A rate that is constant over an epoch is compared at the epoch's beginning.
    for index, rate in itertools.islice(enumerate(rates), 0, None, to):
        expected = official(index // to * unit, base)
        assert rate == pytest.approx(expected, rel=tolerance), index


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


@pytest.mark.slow
@pytest.mark.parametrize('folder', FOLDERS)
def test_parameters_are_as_documented(folder):
    for model in yaml.safe_load((CONFIGS / folder / 'metafile.yml').read_text())['Models']:
        restorer = build(restorer_of(load(model['Config'].removeprefix('configs/'))))
        parameters = sum(p.numel() for p in restorer.generator.parameters())
        assert parameters == model['Metadata']['Parameters']
