"""Training out of LMDBs gives what training out of folders gives, region maps included."""

import random
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from config_files import CONFIGS
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmsamdistill.cache.extract import extract
from mmsamdistill.cache.map_file import write_map
from mmsamdistill.engine import RegionCacheHook

DOCS = CONFIGS.parent / 'docs/data.md'
# By base config: the folders out of which its databases are made, as its own base has them.
BASES = {
    'gopro_lmdb.py': {'sharp_crops': 'sharp', 'blur_crops': 'blur'},
    'sidd_lmdb.py': {'gt_crops': 'gt_crops', 'input_crops': 'input_crops'},
}


def snippets():
    """The Python of the documentation: a config, and the function that writes a database."""
    config, writer = re.findall(r'```python\n(.*?)```', DOCS.read_text(), re.DOTALL)
    names: dict = {}
    exec(writer, names)
    return config, names['write_lmdb']


@pytest.fixture(params=BASES)
def datasets(request, tmp_path, monkeypatch):
    """The training sets of a base of folders and of its LMDB variant, both with region maps."""
    monkeypatch.chdir(tmp_path)
    folders = Config.fromfile(CONFIGS / '_base_/datasets' / request.param.replace('_lmdb', ''))
    database = Config.fromfile(CONFIGS / '_base_/datasets' / request.param)
    root = tmp_path / folders.train_dataloader.dataset.data_root
    _, write_lmdb = snippets()
    generator = np.random.default_rng(0)
    for name, source in BASES[request.param].items():
        (root / source).mkdir(parents=True)
        for index in range(4):
            image = generator.integers(0, 256, (280, 290, 3)).astype(np.uint8)
            cv2.imwrite(str(root / source / f'{index}_s00{index}.png'), image)
        write_lmdb(root / source, root / f'{name}.lmdb')
    for index in range(4):
        labels = generator.integers(0, 9, (280, 290))
        write_map(root / 'regions' / f'{index}_s00{index}.png', labels, {})
    wrap = {'type': 'RegionDataset', 'regions': str(root / 'regions')}
    return [
        {**wrap, 'dataset': cfg.train_dataloader.dataset.to_dict()} for cfg in (folders, database)
    ]


def samples_of(dataset):
    """The samples by the images' keys, each from the same random state: folders have no order."""
    built = DATASETS.build(dataset)
    samples = {}
    for index in range(len(built)):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        samples[built.get_data_info(index)['key']] = built[index]
    return samples


def test_samples_equal_those_of_folders(datasets):
    files, database = map(samples_of, datasets)
    assert len(files) == 4
    assert files.keys() == database.keys()
    for key, sample in files.items():
        stored = database[key]
        assert sample['inputs'].shape == (3, 256, 256)
        assert torch.equal(sample['inputs'], stored['inputs'])
        for name in ('gt_img', 'regions'):
            first, second = (each['data_samples'].get(name) for each in (sample, stored))
            assert torch.equal(first, second)
        assert not torch.equal(sample['inputs'], sample['data_samples'].gt_img)


def test_workers_read_one_database_together(datasets):
    built = DATASETS.build(datasets[1])
    loader = DataLoader(built, batch_size=1, num_workers=2, collate_fn=pseudo_collate)
    shapes = [batch['data_samples'][0].regions.shape for batch in loader]
    assert shapes == [(1, 256, 256)] * 4


def test_documented_config_makes_any_base_one_of_lmdbs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, write_lmdb = snippets()
    for side, value in (('input', 50), ('target', 200)):
        folder = tmp_path / 'data/rain13k/train' / side
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / '7.jpg'), np.full((140, 150, 3), value, np.uint8))
        write_lmdb(folder, folder.with_suffix('.lmdb'))
    base = (CONFIGS / '_base_/datasets/rain13k.py').as_posix()
    (tmp_path / 'lmdb.py').write_text(config.replace('./rain13k.py', base))
    dataset = DATASETS.build(Config.fromfile(tmp_path / 'lmdb.py').train_dataloader.dataset)
    sample = dataset[0]
    assert len(dataset) == 1
    assert sample['inputs'].float().mean() == pytest.approx(50, abs=1)
    assert sample['data_samples'].gt_img.float().mean() == pytest.approx(200, abs=1)


@pytest.mark.parametrize('datasets', ['gopro_lmdb.py'], indirect=True)
def test_region_cache_is_checked_but_for_the_hashes_of_files(datasets, tmp_path):
    folder = tmp_path / 'data/gopro/train/sharp'
    extract(folder, tmp_path / 'cache', MODELS.build({'type': 'SuperpixelRegions'}))
    dataset = DATASETS.build({**datasets[1], 'regions': str(tmp_path / 'cache')})
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=dataset), model=torch.nn.Linear(1, 1), cfg={}
    )
    expected = {'type': 'SuperpixelRegions'}
    # What is in a database is no file: there is nothing to hash, and nothing in the way.
    RegionCacheHook(expected=expected).before_train(runner)
    (tmp_path / 'cache/2_s002.png').unlink()
    with pytest.raises(ValueError, match='2_s002'):
        RegionCacheHook(expected=expected).before_train(runner)
