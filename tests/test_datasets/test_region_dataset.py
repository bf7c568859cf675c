"""RegionDataset: any dataset's configuration, extended and built."""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmagic.datasets.transforms import PairedRandomCrop
from mmagic.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from mmsamdistill.cache.map_file import write_map
from mmsamdistill.datasets import AddGaussianNoise, add_regions_to_pipeline
from mmsamdistill.datasets.region_dataset import RegionDataset, add_regions_to_config
from mmsamdistill.datasets.region_pipeline import BY_KEYS, HARMLESS, INTERPOLATING, REPLAYED

ROOT = Path(__file__).parents[2]
LOAD = [{'type': 'LoadImageFromFile', 'key': key} for key in ('img', 'gt')]
PACK = {'type': 'PackInputs'}


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('mmagic')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    for folder in ('gt', 'img', 'regions'):
        (root / folder).mkdir()
    for index in range(3):
        image = np.full((20, 24, 3), 10 * index, np.uint8)
        cv2.imwrite(str(root / 'gt' / f'{index}.jpg'), image)
        cv2.imwrite(str(root / 'img' / f'{index}.jpg'), image)
        write_map(root / 'regions' / f'{index}.png', np.full((20, 24), index + 1), {})
    return root


def dataset_config(root, *steps):
    return {
        'type': 'BasicImageDataset',
        'metainfo': {'dataset_type': 'x', 'task_name': 'deblurring'},
        'data_root': str(root),
        'data_prefix': {'gt': 'gt', 'img': 'img'},
        'pipeline': [*LOAD, *steps, PACK],
    }


def test_dataset_is_itself_with_regions_in_its_samples(root):
    config = dataset_config(root, {'type': 'Flip', 'keys': ['img', 'gt']})
    before = copy.deepcopy(config)
    dataset = DATASETS.build(
        {'type': 'RegionDataset', 'dataset': config, 'regions': str(root / 'regions')}
    )
    assert config == before
    assert type(dataset).__name__ == 'BasicImageDataset'
    assert dataset.metainfo['task_name'] == 'deblurring'
    for index in range(3):
        sample = dataset[index]['data_samples']
        assert sample.regions.shape == (1, 20, 24)
        assert (sample.regions == int(Path(sample.gt_path).stem) + 1).all()


def test_samples_survive_workers_and_stacking(root):
    from mmagic.structures import DataSample

    dataset = RegionDataset(dataset_config(root), str(root / 'regions'))
    loader = DataLoader(dataset, batch_size=3, num_workers=1, collate_fn=pseudo_collate)
    stacked = DataSample.stack(next(iter(loader))['data_samples'])
    assert stacked.regions.shape == (3, 1, 20, 24)
    assert stacked.regions.dtype == torch.int32


def test_nested_datasets(root):
    inner = dataset_config(root)
    regions = str(root / 'regions')
    repeated = RegionDataset({'type': 'RepeatDataset', 'dataset': inner, 'times': 2}, regions)
    assert len(repeated) == 6
    assert repeated[5]['data_samples'].regions.shape == (1, 20, 24)
    several = {'type': 'ConcatDataset', 'datasets': [inner, {**inner, 'indices': 1}]}
    assert len(RegionDataset(several, regions)) == 4
    assert RegionDataset(several, [regions] * 2)[3]['data_samples'].regions.any()
    with pytest.raises(ValueError, match='3 region caches for 2 datasets'):
        RegionDataset(several, [regions] * 3)


def test_each_dataset_has_its_own_cache(root, tmp_path):
    write_map(tmp_path / '0.png', np.full((20, 24), 9), {})
    several = {'type': 'ConcatDataset', 'datasets': [dataset_config(root)] * 2}
    found = add_regions_to_config(several, [str(root / 'regions'), str(tmp_path)])
    roots = [each['pipeline'][2]['root'] for each in found['datasets']]
    assert roots == [str(root / 'regions'), str(tmp_path)]


def test_missing_cache_names_the_command_for_these_images(root):
    with pytest.raises(FileNotFoundError) as caught:
        RegionDataset(dataset_config(root), 'data/nowhere')
    assert f'extract_regions {root / "gt"} data/nowhere' in str(caught.value)


def test_what_is_no_dataset_configuration_is_refused(root):
    with pytest.raises(TypeError, match='list'):
        RegionDataset([], str(root))
    with pytest.raises(ValueError, match='no pipeline'):
        RegionDataset({'type': 'CIFAR10'}, str(root))
    with pytest.raises(ValueError, match='ConcatDataset'):
        RegionDataset(dataset_config(root), [str(root)])


def test_configuration_inherits_through_mmengine(root, tmp_path):
    plain = {'train_pipeline': dataset_config(root)['pipeline']}
    plain['train_dataloader'] = {'batch_size': 2, 'dataset': dataset_config(root)}
    Config(plain).dump(tmp_path / 'plain.py')
    (tmp_path / 'distilled.py').write_text(f"""
_base_ = './plain.py'
train_dataloader = dict(
    dataset=dict(_delete_=True, type='RegionDataset', regions={str(root / 'regions')!r},
                 dataset={{{{_base_.train_dataloader.dataset}}}}))
""")
    config = Config.fromfile(tmp_path / 'distilled.py').train_dataloader
    assert config.batch_size == 2
    assert config.dataset.dataset.to_dict() == dataset_config(root)
    assert DATASETS.build(config.dataset)[0]['data_samples'].regions.any()


@pytest.mark.parametrize('name', ['nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro'])
def test_hosts_own_configuration_in_three_lines(root, tmp_path, name):
    (tmp_path / 'distilled.py').write_text(f"""
_base_ = 'mmagic::nafnet/{name}.py'
train_dataloader = dict(
    dataset=dict(_delete_=True, type='RegionDataset', regions={str(root / 'regions')!r},
                 dataset={{{{_base_.train_dataloader.dataset}}}}))
""")
    config = Config.fromfile(tmp_path / 'distilled.py')
    dataset = config.train_dataloader.dataset
    dataset.dataset.data_root = str(root)
    dataset.dataset.data_prefix = {'gt': 'gt', 'img': 'img'}
    for step in dataset.dataset.pipeline:
        if step.type == 'PairedRandomCrop':
            step.gt_patch_size = 8
    sample = DATASETS.build(dataset)[2]['data_samples']
    assert sample.regions.shape == (1, 8, 8)
    assert (sample.regions == int(Path(sample.gt_path).stem) + 1).all()


@pytest.mark.parametrize(
    'between',
    [
        {'type': 'Flip', 'keys': ['img', 'gt']},
        {'type': 'RegionMix'},
        {'type': 'MyOwn'},
    ],
    ids=lambda step: step['type'],
)
def test_what_looks_at_a_map_before_the_crop_gets_the_whole(between):
    crop = {'type': 'PairedRandomCrop', 'gt_patch_size': 8}
    steps = [*LOAD, between, crop, {'type': 'PackInputs'}]
    found = add_regions_to_pipeline(steps, 'r', geometric={'MyOwn': False})
    assert 'deferred' not in found[len(LOAD)]
    steps[len(LOAD)] = {'type': 'RescaleToZeroOne', 'keys': ['img', 'gt']}
    assert add_regions_to_pipeline(steps, 'r')[len(LOAD)]['deferred']
    chosen = add_regions_to_pipeline(steps, 'r', crop={'candidates': 2})
    assert 'deferred' not in chosen[len(LOAD)]


def test_pipeline_is_extended_where_it_must_be_and_nowhere_else():
    steps = [
        *LOAD,
        {'type': 'SetValues', 'dictionary': {'scale': 1}},
        {'type': 'mmagic.PairedRandomCrop', 'gt_patch_size': 8},
        {'type': 'Flip', 'keys': 'gt'},
        {'type': 'Flip', 'keys': ['mask']},
        {'type': 'AddGaussianNoise', 'sigma': 5},
        {'type': 'PackInputs', 'data_keys': 'noise'},
    ]
    before = copy.deepcopy(steps)
    found = add_regions_to_pipeline(steps, 'r')
    assert steps == before
    assert found == [
        *LOAD,
        {'type': 'LoadRegionMap', 'root': 'r', 'key': 'regions', 'deferred': True},
        steps[2],
        {
            'type': 'CarryRegions',
            'transform': steps[3],
            'key': 'regions',
            'image_keys': ['gt', 'img'],
            'as_list': True,
        },
        {'type': 'Flip', 'keys': ['gt', 'regions']},
        steps[5],
        steps[6],
        {'type': 'PackInputs', 'data_keys': ['noise', 'regions']},
    ]
    other = add_regions_to_pipeline(steps, 'r', key='map')
    assert (
        other[2]['key']
        == other[4]['key']
        == other[5]['keys'][1]
        == other[8]['data_keys'][1]
        == 'map'
    )


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        ({'type': 'Resize', 'keys': ['gt', 'img']}, 'Resize interpolates'),
        ({'type': 'RandomRotation', 'keys': ['gt'], 'degrees': 5}, 'RandomRotation interpolates'),
        ({'type': 'Mine', 'keys': ['gt']}, r"geometric=\{'Mine': 'keys'\}"),
        ({'type': 'Mine'}, r"geometric=\{'Mine': True\}"),
        ({'type': 'Crop', 'keys': ['gt', 'img'], 'crop_size': (8, 8)}, 'PairedRandomCrop'),
        ({'type': 'RandomCropLongEdge', 'keys': ['gt', 'img']}, 'PairedRandomCrop'),
        ({'type': 'RandomApply', 'transforms': [{'type': 'Mine'}]}, 'Mine is unknown'),
        ({'type': 'LoadRegionMap', 'root': 'r'}, 'already loads'),
        (print, 'builtin_function_or_method is unknown'),
        (PairedRandomCrop(8), 'PairedRandomCrop is in the pipeline as an object'),
    ],
)
def test_what_cannot_be_carried_exactly_is_refused(step, message):
    with pytest.raises(ValueError, match=message):
        add_regions_to_pipeline([*LOAD, step, PACK], 'r')


def test_transforms_declared_harmless_stay():
    mine = {'type': 'Mine', 'keys': ['gt']}
    assert mine in add_regions_to_pipeline([*LOAD, mine, PACK], 'r', {'Mine': False})
    assert print in add_regions_to_pipeline(
        [*LOAD, print, PACK], 'r', {'builtin_function_or_method': False}
    )
    with pytest.raises(ValueError, match='give its configuration'):
        add_regions_to_pipeline([*LOAD, print, PACK], 'r', {'builtin_function_or_method': 'keys'})


def test_moving_before_everything_is_loaded_is_refused():
    flip = {'type': 'Flip', 'keys': ['img']}
    with pytest.raises(ValueError, match='before all images are loaded'):
        add_regions_to_pipeline([LOAD[0], flip, LOAD[1], PACK], 'r')
    harmless = {'type': 'Clip', 'keys': ['img']}
    assert (
        add_regions_to_pipeline([LOAD[0], harmless, LOAD[1], PACK], 'r')[3]['type']
        == 'LoadRegionMap'
    )


@pytest.mark.parametrize('pipeline', [[], LOAD, [PACK]])
def test_pipelines_that_load_or_pack_nothing_are_refused(pipeline):
    with pytest.raises(ValueError, match='PackInputs'):
        add_regions_to_pipeline(pipeline, 'r')


def test_every_transform_that_is_said_to_be_known_exists():
    import mmagic.datasets.transforms  # noqa: F401
    from mmagic.registry import TRANSFORMS

    for name in {*BY_KEYS, *REPLAYED, *HARMLESS, *INTERPOLATING}:
        assert TRANSFORMS.get(name) is not None, name


class Roll:
    """A transform of one's own that says of itself what it does."""

    geometric = 'names'

    def __init__(self, names=('gt', 'img')):
        self.names = names

    def __call__(self, results):
        return {**results, **{name: np.roll(results[name], 3, axis=0) for name in self.names}}


def test_transforms_may_say_themselves_what_they_do(root):
    steps = [*LOAD, {'type': Roll, 'names': ['gt', 'img']}, {'type': AddGaussianNoise}, PACK]
    found = add_regions_to_pipeline(steps, 'r')
    assert found[3]['names'] == ['gt', 'img', 'regions']
    assert found[4] == {'type': AddGaussianNoise}


@pytest.mark.parametrize('form', ['text', 'scope', 'class', 'lazy'])
def test_types_may_have_any_form(root, form):
    from mmagic.datasets.transforms import Flip
    from mmengine.config.lazy import LazyAttr, LazyObject

    forms = {
        'text': 'Flip',
        'scope': 'mmagic.Flip',
        'class': Flip,
        'lazy': LazyAttr('Flip', LazyObject('mmagic.datasets.transforms')),
    }
    step = {'type': forms[form], 'keys': ['gt', 'img']}
    assert add_regions_to_pipeline([*LOAD, step, PACK], 'r')[3]['keys'] == ['gt', 'img', 'regions']
