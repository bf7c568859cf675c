"""The dataset bases read the documented layouts, and test on every set by its protocol."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from config_files import CONFIGS, as_list
from mmagic.registry import DATASETS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from toy import plain_model

from mmsamdistill.cache.map_file import write_map
from mmsamdistill.data_check.check import check_data
from mmsamdistill.datasets import RegionDataset

BASES = CONFIGS / '_base_/datasets'
DOCS = CONFIGS.parent / 'docs/data.md'
DENOISING = dict.fromkeys(['CBSD68', 'Kodak24', 'McMaster', 'Urban100'], 'denoise_rgb')
GOPRO = ['GoPro', 'HIDE', 'RealBlur_J_unaligned', 'RealBlur_R_unaligned']
RAIN = ['Test100', 'Rain100H', 'Rain100L', 'Test2800', 'Test1200']
# What each base is tested on, by which protocol.
TESTS = {
    'dfwb_color_sigma15': DENOISING,
    'dfwb_color_sigma25': DENOISING,
    'dfwb_color_sigma50': DENOISING,
    'gopro': dict.fromkeys(GOPRO, 'gopro_rgb'),
    'gopro_lmdb': dict.fromkeys(GOPRO, 'gopro_rgb'),
    'gopro_patch128': dict.fromkeys(GOPRO, 'gopro_rgb'),
    'rain13k': dict.fromkeys(RAIN, 'rain_y_matlab'),
    'raincityscapes': {'RainCityscapes': 'rain_y_matlab'},
    'sidd': {'SIDD': 'sidd_rgb'},
    'sidd_lmdb': {'SIDD': 'sidd_rgb'},
    'sidd_patch128': {'SIDD': 'sidd_rgb'},
}
# Files of each layout, as docs/data.md draws it.
LAYOUTS = {
    'pairs': [
        f'pairs/{split}/{kind}/{name}.png'
        for split in ('train', 'test')
        for kind in ('input', 'target')
        for name in ('a', 'folder/b')
    ],
    'gopro': [
        *(f'gopro/{split}/{side}/a.png' for split in ('train', 'test')
          for side in ('sharp', 'blur')),
        *(f'{name}/{side}/a.png' for name in ('HIDE', 'RealBlur_J', 'RealBlur_R')
          for side in ('target', 'input')),
    ],
    'rain13k': [
        *(f'rain13k/train/{side}/1.jpg' for side in ('target', 'input')),
        *(f'rain13k/test/{name}/{side}/1.png' for name in RAIN for side in ('target', 'input')),
    ],
    'sidd': [
        *(f'SIDD/train/{side}/0001_s001.PNG' for side in ('gt_crops', 'input_crops')),
        *('SIDD/val/gt/val_0_GT.png', 'SIDD/val/noisy/val_0_NOISY.png'),
    ],
    'dfwb_color_sigma25': [
        *('dfwb/train/DIV2K/0001.png', 'dfwb/train/WED/00001.bmp', 'dfwb/train/b.jpg'),
        *(f'denoising_gaussian_test/{name}/1.png' for name in DENOISING),
    ],
}  # fmt: skip
CITY = 'aachen/aachen_000004_000019'
STRENGTHS = ['0.01_beta_0.005_dropsize_0.01', '0.02_beta_0.01_dropsize_0.005']
STRENGTHS += ['0.03_beta_0.015_dropsize_0.002']


def load(name):
    return Config.fromfile(BASES / f'{name}.py')


def write_images(folder, names, size=260):
    generator = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = generator.integers(0, 256, (size, size + 4, 3)).astype(np.uint8)
        assert cv2.imwrite(str(folder / name), image)


def write_rain(root):
    """Two photographs of Cityscapes, of which one is in RainCityscapes."""
    for split in ('train', 'val'):
        clean = root / f'data/cityscapes/leftImg8bit/{split}'
        write_images(clean, [f'{CITY}_leftImg8bit.png', 'jena/jena_0_1_leftImg8bit.png'], 130)
        rains = [
            f'{CITY}_leftImg8bit_rain_alpha_{strength}_pattern_{number}.png'
            for strength in STRENGTHS
            for number in range(1, 13)
        ]
        write_images(root / f'data/cityscapes/leftImg8bit_rain/{split}', rains, 130)


def test_every_base_is_known():
    # pairs: of one's own, no layout that others know.
    assert {path.stem for path in BASES.glob('*.py')} == {*TESTS, 'pairs'}


@pytest.mark.parametrize('name', TESTS)
def test_each_test_set_has_its_row_and_its_protocol(name):
    cfg = load(name)
    protocols = {}
    for loader, evaluator in zip(cfg.test_dataloader, cfg.test_evaluator, strict=True):
        (metric,) = evaluator
        dataset = loader.dataset.get('datasets', [loader.dataset])[0]
        assert dataset.metainfo.dataset_type == metric.prefix
        protocols[metric.prefix] = metric.protocol
    assert protocols == TESTS[name]
    # Validation is on one of them, and reports the name by which the best checkpoint is kept.
    (metric,) = cfg.val_evaluator
    assert metric.get('prefix') is None
    assert metric.protocol in protocols.values()
    assert not isinstance(cfg.val_dataloader, list)


@pytest.mark.parametrize('name', LAYOUTS)
def test_layout_of_the_documentation_is_what_is_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / 'data', LAYOUTS[name])
    reports = check_data(load(name), full=True)
    assert [report for report in reports if not report.ok] == []
    read = {path for report in reports for path in report.files}
    assert {Path(path).resolve() for path in read} == {
        (tmp_path / 'data' / path).resolve() for path in LAYOUTS[name]
    }


@pytest.mark.parametrize('name', TESTS)
def test_every_folder_is_documented(name):
    cfg = load(name)
    text = DOCS.read_text()
    for loader in (cfg.train_dataloader, cfg.val_dataloader, *cfg.test_dataloader):
        for dataset in loader.dataset.get('datasets', [loader.dataset]):
            general = dataset.data_root.replace(dataset.metainfo.dataset_type, 'NAME')
            assert f'{dataset.data_root}/' in text or f'{general}/' in text
    for report_name in TESTS[name]:
        assert report_name.removesuffix('_unaligned') in text


def test_all_rains_of_a_photograph_share_its_truth_and_its_regions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rain(tmp_path)
    cfg = load('raincityscapes')
    reports = check_data(cfg)
    assert [report for report in reports if not report.ok] == []
    assert [report.samples for report in reports] == [36, 1, 36]
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    # Every rain once: pattern 1 is not taken for pattern 12.
    assert len({Path(info['img_path']).resolve() for info in infos}) == 36
    assert {info['gt_path'] for info in infos} == {
        f'data/cityscapes/leftImg8bit/train/{CITY}_leftImg8bit.png'
    }
    write_map(tmp_path / f'regions/{CITY}_leftImg8bit.png', np.full((130, 134), 7), {})
    mapped = RegionDataset(cfg.train_dataloader.dataset.to_dict(), 'regions')
    assert all((mapped[index]['data_samples'].regions == 7).all() for index in (0, 20, 35))


class KeepMetrics(Hook):
    def after_test_epoch(self, runner, metrics=None):
        self.metrics = metrics


@pytest.mark.slow
def test_one_run_measures_every_test_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / 'data', LAYOUTS['gopro'], 32)
    cfg = load('gopro')
    for loader in cfg.test_dataloader:
        loader.num_workers = 0
    settings = {
        'default_scope': 'mmagic',
        'work_dir': str(tmp_path / 'work'),
        'model': plain_model(),
        'test_dataloader': as_list(cfg.test_dataloader),
        'test_evaluator': as_list(cfg.test_evaluator),
        'test_cfg': {'type': 'MultiTestLoop'},
        'log_level': 'ERROR',
        'experiment_name': 'bases',
    }
    runner = Runner.from_cfg(Config(settings))
    kept = KeepMetrics()
    runner.register_hook(kept)
    runner.test()
    assert set(kept.metrics) == {f'{name}/{each}' for name in GOPRO for each in ('PSNR', 'SSIM')}
