"""Every configuration loads, builds, runs, and agrees with itself and with its twin."""

import re

import cv2
import numpy as np
import pytest
import torch
from config_files import (
    ALL,
    CONFIGS,
    PLAIN,
    TWINS,
    as_list,
    build,
    load,
    pipelines,
    plain_of,
    red_image,
    restorer_of,
    run_pipeline,
    train_set,
)
from mmagic.registry import HOOKS, METRICS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmsamdistill  # noqa: F401
from mmsamdistill.cache.extract import extract
from mmsamdistill.datasets import add_regions_to_pipeline

# A twin may differ from its plain configuration here, and nowhere else.
TWIN_KEYS = {
    *('model', 'train_dataloader', 'optim_wrapper', 'custom_hooks'),
    *('distill', 'cascade_optim_wrapper', 'region_cache_hook', 'find_unused_parameters'),
}
# Where the maps of each data set lie, said once in its base.
REGION_FOLDERS = {
    'gopro': 'data/gopro/train/regions',
    'rain13k': 'data/rain13k/train/regions',
    'sidd': 'data/SIDD/train/regions',
    'dfwb': 'data/dfwb/regions',
    'photographs': 'data/train/regions',
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmagic')


@pytest.mark.slow
@pytest.mark.parametrize('name', ALL)
def test_model_builds(name):
    model = build(load(name).model)
    student = getattr(model, 'restorer', model)
    assert sum(p.numel() for p in student.parameters()) > 0


@pytest.mark.parametrize('name', PLAIN)
def test_parts_build(name):
    cfg = load(name)
    for pipeline in pipelines(cfg):
        assert all(TRANSFORMS.build(step) for step in pipeline)
    for hook in [*cfg.default_hooks.values(), *cfg.custom_hooks]:
        HOOKS.build(hook)
    loaders, evaluators = as_list(cfg.test_dataloader), as_list(cfg.test_evaluator)
    if len(loaders) > 1:
        assert len(loaders) == len(evaluators)
    for evaluator in [*evaluators, *as_list(cfg.val_evaluator)]:
        for metric in as_list(evaluator):
            assert METRICS.build(metric).protocol.crop_border == 0


@pytest.mark.parametrize('name', TWINS)
def test_the_random_crop_of_every_recipe_can_be_chosen_by_its_regions(name):
    steps = add_regions_to_pipeline(train_set(load(name)).pipeline, 'regions', crop={})
    (chosen,) = [step for step in steps if step['type'] == 'RegionCrop']
    assert TRANSFORMS.build(chosen).candidates > 1


@pytest.mark.parametrize('name', ALL)
def test_config_survives_being_written_and_read(name, tmp_path):
    load(name).dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == load(name).to_dict()


@pytest.mark.parametrize('name', TWINS)
def test_twin_differs_from_plain_only_where_it_says_so(name):
    twin, plain = load(name), plain_of(name)
    different = {k for k in {*twin, *plain} if twin.get(k) != plain.get(k)}
    assert {'model', 'train_dataloader'} <= different <= TWIN_KEYS

    assert twin.model.type == 'SAMDistillRestorer'
    assert twin.model.restorer.to_dict() == plain.model.to_dict()

    loader = twin.train_dataloader.to_dict()
    assert loader['dataset'].keys() == {'type', 'dataset', 'regions'}
    kind = plain.train_dataloader.dataset.metainfo.dataset_type
    assert loader['dataset']['regions'] == REGION_FOLDERS[kind]
    assert {**loader, 'dataset': loader['dataset']['dataset']} == plain.train_dataloader.to_dict()

    optim = twin.optim_wrapper.to_dict()
    assert optim.pop('constructor') == 'CascadeOptimWrapperConstructor'
    assert optim == plain.optim_wrapper.to_dict()


@pytest.mark.parametrize('name', [name for name in TWINS if not name.startswith('demo')])
def test_twin_repeats_no_default(name):
    assert load(name).model.keys() == {'type', 'restorer', 'regions', 'teacher_interval'}


def test_twins_differ_in_their_plain_configuration_alone():
    texts = {(CONFIGS / name).read_text() for name in TWINS if not name.startswith('demo')}
    bodies = {text.partition('\nmodel = ')[2] for text in texts}
    assert len(texts) > 20
    assert len(bodies) == 1


@pytest.mark.parametrize('name', PLAIN)
def test_training_and_testing_see_rgb(name, tmp_path):
    cfg = load(name)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    for index, pipeline in enumerate(pipelines(cfg)):
        packed = run_pipeline(pipeline, red_image(tmp_path))
        batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
        seen = preprocessor(batch, training=index == 0)
        red, green, blue = seen['inputs'][0].mean((1, 2))
        assert red > green + 0.1 > blue + 0.2
        metainfo = seen['data_samples'].metainfo
        assert as_list(metainfo['img_output_channel_order'])[0].upper() == 'RGB'
        # Results are compared in MMagic's order: prediction and truth must get there alike.
        restored = preprocessor.destruct(seen['inputs'].clone(), seen['data_samples'])
        truth = seen['data_samples'].gt_img
        if index > 0:
            assert (restored - truth).mean((2, 3)).abs().max() < 8


@pytest.mark.parametrize('name', PLAIN)
def test_all_results_are_compared_on_the_same_footing(name):
    cfg = load(name)
    y_channel = cfg.get('train_dataloader').dataset.metainfo.task_name == 'deraining'
    metrics = [m for e in as_list(cfg.test_evaluator) for m in as_list(e)]
    metrics += as_list(cfg.val_evaluator)
    expected = {'gopro': 'gopro_rgb', 'sidd': 'sidd_rgb'}.get(
        name.removesuffix('.py').rpartition('_')[2], 'rain_y_matlab' if y_channel else 'denoise_rgb'
    )
    assert {metric.protocol for metric in metrics} == {expected}
    # The best checkpoint is chosen by a metric that validation reports under this very name.
    best = cfg.default_hooks.checkpoint.get('save_best')
    assert best in (None, 'PSNR')
    assert all('prefix' not in metric for metric in as_list(cfg.val_evaluator))


@pytest.mark.parametrize('name', [n for n in PLAIN if 'sigma' in n])
def test_noise_is_of_the_named_sigma_and_fixed_in_testing(name, tmp_path):
    cfg = load(name)
    sigma = int(re.search(r'sigma(\d+)', name)[1])
    path = red_image(tmp_path)

    def noise(pipeline):
        packed = run_pipeline(pipeline, path)
        return packed['inputs'].float() - packed['data_samples'].gt_img.float()

    train, *tests = pipelines(cfg)
    for pipeline in (train, *tests):
        assert noise(pipeline).std().item() == pytest.approx(sigma, rel=0.05)
    assert not torch.equal(noise(train), noise(train))
    for pipeline in tests:
        assert torch.equal(noise(pipeline), noise(pipeline))
    assert {
        step.sigma for p in (cfg.train_pipeline, cfg.test_pipeline) for step in p if 'sigma' in step
    } == {sigma}


def test_blind_denoising_draws_a_sigma_and_is_tested_with_three(tmp_path):
    cfg = load('restormer/restormer_8xb8-lr3e-4-300k_dfwb-color-blind.py')
    path = red_image(tmp_path)

    def strength(pipeline):
        packed = run_pipeline(pipeline, path)
        return (packed['inputs'].float() - packed['data_samples'].gt_img.float()).std().item()

    np.random.seed(0)
    drawn = [strength(cfg.train_dataloader.dataset.pipeline) for _ in range(20)]
    assert min(drawn) < 15
    assert 35 < max(drawn) < 51
    tested = {}
    for loader, (metric,) in zip(cfg.test_dataloader, cfg.test_evaluator, strict=True):
        assert loader.dataset.metainfo.dataset_type == metric.prefix
        tested[metric.prefix] = strength(loader.dataset.pipeline)
    assert len(tested) == 12
    for name, sigma in tested.items():
        assert sigma == pytest.approx(int(name.rpartition('sigma')[2]), rel=0.05)
    assert strength(cfg.val_dataloader.dataset.pipeline) == pytest.approx(25, rel=0.05)


def write_config(path, *lines):
    path.write_text('\n'.join(lines) + '\n')
    return path


@pytest.mark.parametrize(
    'base',
    [
        'nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py',
        'restormer/restormer_official_rain13k.py',
    ],
)
def test_three_lines_wrap_a_config_of_mmagic(base, tmp_path):
    path = write_config(
        tmp_path / 'distilled.py',
        f"_base_ = 'mmagic::{base}'",
        "custom_imports = dict(imports=['mmsamdistill'], allow_failed_imports=False)",
        "model = dict(_delete_=True, type='SAMDistillRestorer', restorer={{_base_.model}})",
    )
    cfg = Config.fromfile(path)
    original = Config.fromfile(
        write_config(tmp_path / 'plain.py', f"_base_ = 'mmagic::{base}'")
    ).model.generator
    assert {k: cfg.model.restorer.generator[k] for k in original} == original.to_dict()
    student = build(cfg.model).restorer
    assert student.generator.state_dict().keys() == build(original).state_dict().keys()


@pytest.mark.parametrize('name', ['mmagic', *(n for n in TWINS if not n.startswith('demo'))])
def test_inheriting_config_overrides_the_student(name, tmp_path):
    if name == 'mmagic':
        base = write_config(
            tmp_path / 'distilled.py',
            "_base_ = 'mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py'",
            "model = dict(_delete_=True, type='SAMDistillRestorer', restorer={{_base_.model}})",
        )
    else:
        base = CONFIGS / name
    width = {'restormer': 'dim', 'swinir': 'embed_dim'}.get(name.split('/')[0], 'mid_channels')
    path = write_config(
        tmp_path / 'small.py',
        f"_base_ = '{base.as_posix()}'",
        f'model = dict(restorer=dict(generator=dict({width}=8)), spf=None)',
    )
    small, original = Config.fromfile(path).model, Config.fromfile(base).model
    assert small.restorer.generator[width] == 8
    assert original.restorer.generator[width] != 8
    assert small.spf is None
    original.restorer.generator[width] = 8
    assert small.restorer == original.restorer


@pytest.mark.parametrize(
    ('name', 'regions'), [('samdistill', 'CachedRegions'), ('superpixel', 'SuperpixelRegions')]
)
def test_way_to_distil_is_an_axis_of_its_own(name, regions, tmp_path):
    plain = CONFIGS / 'nafnet/nafnet_c32eb11128mb1db1111_8xb4-lr1e-3-200k_gopro.py'
    path = write_config(
        tmp_path / 'distilled.py',
        f"_base_ = ['{plain.as_posix()}', '{(CONFIGS / '_base_/distill').as_posix()}/{name}.py']",
        'model = dict(_delete_=True, restorer={{_base_.model}}, **_base_.distill)',
    )
    model = build(Config.fromfile(path).model)
    assert type(model).__name__ == 'SAMDistillRestorer'
    assert type(model.regions).__name__ == regions


# Generators of a few thousand parameters, and runs of a few steps; everything else stays.
TINY = {
    'nafnet': {'mid_channels': 4, 'enc_blk_nums': [1], 'dec_blk_nums': [1]},
    'restormer': {'dim': 8, 'num_blocks': [1] * 4, 'heads': [1] * 4, 'num_refinement_blocks': 1},
    'swinir': {'depths': [1], 'num_heads': [1], 'embed_dim': 8, 'img_size': 32},
    'hinet': {'mid_channels': 4, 'depth': 3, 'hin_levels': (0, 2)},
    'mprnet': {'mid_channels': 8, 'unet_growth': 4, 'full_growth': 4, 'num_blocks': 1},
    'prenet': {'mid_channels': 4, 'num_stages': 2},
}
RUNS = [
    'nafnet/nafnet_c32eb11128mb1db1111_8xb4-lr1e-3-200k_gopro.py',
    'restormer/restormer_8xb8-lr3e-4-300k_dfwb-color-sigma50.py',
    'swinir/swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-color-sigma15.py',
    'hinet/hinet_c64_8xb8-lr2e-4-400k_gopro.py',
    'mprnet/mprnet_c96_4xb4-lr2e-4-396k_gopro.py',
    'prenet/prenet_1xb18-lr1e-3-105k_rain13k.py',
]
CLEAN = {'gopro': 'sharp', 'dfwb': 'train', 'rain13k': 'target'}  # folders of the truth


def tiny_run(name, root):
    """Shrink a configuration to three steps on tiny images; everything else stays."""
    cfg = Config.fromfile(CONFIGS / name)
    restorer_of(cfg).generator.update(TINY[name.split('/')[0]])
    loaders = [cfg.train_dataloader, cfg.val_dataloader, *as_list(cfg.test_dataloader)]
    for loader in loaders:
        loader.update(num_workers=0, persistent_workers=False)
        dataset = train_set(Config({'train_dataloader': loader}))
        dataset.data_root = str(root)
        for folder in dataset.data_prefix.values():
            write_images(root / folder)
    for step in train_set(cfg).pipeline:
        if step.type == 'PairedRandomCrop':
            step.gt_patch_size = 32
        elif step.type == 'PadToPatch':
            step.size = 32
    for hook in cfg.custom_hooks:
        if hook.type == 'ProgressivePatchHook':
            hook.update(iters=[1, 1, 1], patch_sizes=[16, 24, 32], batch_sizes=[2, 1, 1])
            cfg.train_dataloader.batch_size = 2
    cfg.train_cfg.update(max_iters=3, val_interval=3)
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(root / 'work'), 'ERROR', root.name
    return cfg


def write_images(folder):
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    for index in range(2):
        cv2.imwrite(str(folder / f'{index}.png'), image)


@pytest.mark.slow
@pytest.mark.parametrize('distilled', [False, True])
@pytest.mark.parametrize('name', RUNS)
def test_run(name, distilled, tmp_path):
    twin = name.replace('.py', '_samdistill.py')
    cfg = tiny_run(twin if distilled else name, tmp_path)
    if distilled:
        regions = tmp_path / 'regions'
        images = tmp_path / CLEAN[train_set(cfg).metainfo.dataset_type]
        extract(images, regions, {'type': 'SuperpixelRegions'})
        cfg.train_dataloader.dataset.regions = str(regions)
        cfg.model.update(sgr_loss=None)  # its analyser's weights would be downloaded
        with pytest.raises(ValueError, match='SAMRegions'):  # which the configuration asks for
            Runner.from_cfg(cfg).train()
        cfg.custom_hooks[-1].expected = {'type': 'SuperpixelRegions'}
        cfg.experiment_name += '_again'
    runner = Runner.from_cfg(cfg)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    after = runner.model.state_dict()
    parts = ('restorer.', 'teacher.') if distilled else ('generator.',)
    for part in parts:
        assert any(not torch.equal(v, before[k]) for k, v in after.items() if k.startswith(part))
    assert list((tmp_path / 'work').glob('best_PSNR_iter_3.pth'))
    runner.test()


@pytest.mark.slow
def test_averaged_weights_are_what_is_kept(tmp_path):
    cfg = tiny_run(RUNS[2].replace('.py', '_samdistill.py'), tmp_path)
    cfg.train_dataloader.dataset = cfg.train_dataloader.dataset.dataset
    cfg.model.update(sgr_loss=None, regions={'type': 'NoRegions'})
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'RegionCacheHook']
    cfg.custom_hooks[-1].momentum = 0.25
    cfg.default_hooks.checkpoint.interval = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    kept, plain = [], []
    for iteration in (1, 2, 3):
        checkpoint = torch.load(tmp_path / f'work/iter_{iteration}.pth', weights_only=True)
        kept.append(checkpoint['state_dict'])
        plain.append(checkpoint['ema_state_dict'])
    for key, value in runner.model.state_dict().items():
        # The cascade's own average is copied, not averaged once more.
        if not value.is_floating_point() or key.startswith('average.'):
            continue
        averaged = kept[0][key]
        for step in (1, 2):
            averaged = 0.75 * averaged + 0.25 * plain[step][f'module.{key}']
            torch.testing.assert_close(kept[step][key], averaged)
        assert torch.equal(plain[2][f'module.{key}'], value)
