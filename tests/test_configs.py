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
    step_of,
    train_set,
)
from mmagic.registry import HOOKS, METRICS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmsamdistill  # noqa: F401
from mmsamdistill.regions.extract import extract

# A twin may differ from its plain configuration here, and nowhere else.
TWIN_KEYS = {
    *('model', 'train_dataloader', 'optim_wrapper', 'custom_hooks'),
    *('distill', 'cascade_optim_wrapper', 'region_cache_hook'),
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmagic')


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
    assert {**loader, 'dataset': loader['dataset']['dataset']} == plain.train_dataloader.to_dict()

    optim = twin.optim_wrapper.to_dict()
    assert optim.pop('constructor') == 'CascadeOptimWrapperConstructor'
    assert optim == plain.optim_wrapper.to_dict()


@pytest.mark.parametrize('name', [name for name in TWINS if not name.startswith('demo')])
def test_twin_repeats_no_default(name):
    assert load(name).model.keys() == {'type', 'restorer', 'regions'}


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
    expected = 'rain_y_matlab' if y_channel else 'gopro_rgb' if 'gopro' in name else 'denoise_rgb'
    assert {metric.protocol for metric in metrics} == {expected}
    # The best checkpoint is chosen by a metric that validation reports under this very name.
    best = cfg.default_hooks.checkpoint.get('save_best')
    assert best in (None, 'PSNR')
    assert all('prefix' not in metric for metric in as_list(cfg.val_evaluator))


@pytest.mark.parametrize('name', [n for n in PLAIN if 'dfwb' in n])
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
    width = 'dim' if 'restormer' in name else 'mid_channels'
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


def tiny_run(name, root):
    """Shrink a configuration to two steps on four tiny images; everything else stays."""
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    for folder in ('train/sharp', 'train/blur', 'test/sharp', 'test/blur'):
        (root / folder).mkdir(parents=True)
        for index in range(2):
            cv2.imwrite(str(root / folder / f'{index}.png'), image)
    cfg = Config.fromfile(CONFIGS / name)
    restorer_of(cfg).generator.update(
        mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1], train_size=(1, 3, 32, 32)
    )
    dataset = train_set(cfg)
    dataset.data_root = str(root / 'train')
    step_of(dataset.pipeline, 'PairedRandomCrop').gt_patch_size = 32
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root / 'test')
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(root / 'work'), 'ERROR', root.name
    return cfg


@pytest.mark.parametrize('distilled', [False, True])
def test_run(distilled, tmp_path):
    name = f'nafnet_c32eb11128mb1db1111_8xb4-lr1e-3-200k_gopro{"_samdistill" * distilled}.py'
    cfg = tiny_run(f'nafnet/{name}', tmp_path)
    if distilled:
        regions = tmp_path / 'train/regions'
        extract(tmp_path / 'train/sharp', regions, {'type': 'SuperpixelRegions'})
        cfg.train_dataloader.dataset.regions = str(regions)
        cfg.model.update(sgr_loss=None)  # its analyser's weights would be downloaded
        with pytest.raises(ValueError, match='SAMRegions'):  # which the configuration asks for
            Runner.from_cfg(cfg).train()
        cfg.custom_hooks[-1].expected = {'type': 'SuperpixelRegions'}
        cfg.experiment_name += '_again'
    runner = Runner.from_cfg(cfg)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    assert any(not torch.equal(v, before[k]) for k, v in runner.model.state_dict().items())
    assert list((tmp_path / 'work').glob('best_PSNR_iter_2.pth'))
    runner.test()
