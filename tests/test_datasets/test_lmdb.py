"""Training out of LMDBs gives what training out of folders gives, region maps included."""

import random

import cv2
import lmdb
import numpy as np
import pytest
import torch
from config_files import CONFIGS
from mmagic.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmsamdistill.regions.cache_fit import check_fit
from mmsamdistill.regions.map_file import write_map
from mmsamdistill.regions.store import RegionStore

# By base config: the folders out of which its databases are made, as its own base has them.
BASES = {
    'gopro_lmdb.py': {'sharp_crops': 'sharp', 'blur_crops': 'blur'},
    'sidd_lmdb.py': {'gt_crops': 'gt_crops', 'input_crops': 'input_crops'},
}


def write_database(folder, path):
    names = sorted(each.name for each in folder.iterdir())
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as txn:
        for name in names:
            txn.put(name.split('.')[0].encode(), (folder / name).read_bytes())
    (path / 'meta_info.txt').write_text(''.join(f'{name} (280,290,3) 1\n' for name in names))


@pytest.fixture(params=BASES)
def datasets(request, tmp_path, monkeypatch):
    """The training sets of a base of folders and of its LMDB variant, both with region maps."""
    monkeypatch.chdir(tmp_path)
    folders = Config.fromfile(CONFIGS / '_base_/datasets' / request.param.replace('_lmdb', ''))
    database = Config.fromfile(CONFIGS / '_base_/datasets' / request.param)
    root = tmp_path / folders.train_dataloader.dataset.data_root
    generator = np.random.default_rng(0)
    for name, source in BASES[request.param].items():
        (root / source).mkdir(parents=True)
        for index in range(4):
            image = generator.integers(0, 256, (280, 290, 3)).astype(np.uint8)
            cv2.imwrite(str(root / source / f'{index}_s00{index}.png'), image)
        write_database(root / source, root / f'{name}.lmdb')
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


def test_region_cache_can_be_checked_without_the_files(datasets):
    """The images are in the database, so that only their hashes cannot be compared."""
    built = DATASETS.build(datasets[1])
    images = {built.get_data_info(n)['key']: () for n in range(len(built))}
    assert check_fit(RegionStore(datasets[1]['regions']), images, hash_images=False).ok
