"""A training run refuses a cache that does not fit, and says what to do."""

import copy
import json
import os
import runpy
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config
from toy import cascade_model, config, plain_model, run_training, write_data

from mmsamdistill import files
from mmsamdistill.cache import check as check_module
from mmsamdistill.cache.check import check_cache, verify
from mmsamdistill.cache.extract import extract
from mmsamdistill.cache.map_file import read_record, write_map
from mmsamdistill.cache.store import RegionStore, fitting_command, read_manifest
from mmsamdistill.engine import RegionCacheHook
from mmsamdistill.sources import SuperpixelRegions

ROOT = Path(__file__).parents[2]
SOURCE = {'type': 'SuperpixelRegions', 'min_size': 5}


@pytest.fixture
def data(tmp_path):
    """Toy images with a cache of their own, made of the clean ones."""
    root = write_data(tmp_path / 'data')
    shutil.rmtree(root / 'regions')
    extract(root / 'gt', root / 'regions', dict(SOURCE))
    return root


def settings_of(data, model=None, **options):
    hook = {'type': 'RegionCacheHook', **options}
    settings = config(data, data.parent / 'run', model or cascade_model(), custom_hooks=[hook])
    settings.train_cfg.max_iters = 1
    return settings


def check(data, settings=None, **options):
    """What the hook does before a training, without the training."""
    settings = settings or settings_of(data)
    dataset = DATASETS.build(copy.deepcopy(settings.train_dataloader.dataset.to_dict()))
    loader = SimpleNamespace(dataset=dataset)
    RegionCacheHook(**options).before_train(
        SimpleNamespace(train_dataloader=loader, model=torch.nn.Linear(1, 1), cfg=settings)
    )


def refusal(data, **options):
    with pytest.raises(ValueError, match='RegionCacheHook: ') as caught:
        check(data, **options)
    return str(caught.value)


def command_in(message):
    return shlex.split(message.partition('Make it fit by: ')[2])


def run_command(command):
    """What a user does with the message."""
    assert command[0] == 'mmsamdistill'
    assert runpy.run_path(str(ROOT / f'tools/{command[1]}.py'))['main'](command[2:]) == 0


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'expected': {'type': 'SuperpixelRegions'}},
        {'expected': {'type': 'SuperpixelRegions', 'min_size': 5, 'scale': 50.0}},
        {'source': SOURCE},
        {'source': SOURCE, 'spot_check': 2, 'hash_images': False},
    ],
    ids=str,
)
def test_a_cache_that_fits(data, options):
    check(data, **options)


def test_a_source_that_draws_leaves_the_runs_random_numbers_alone(data, monkeypatch):
    build, states = SuperpixelRegions.__init__, []

    def drawing(source, *args, **kwargs):
        states.append(torch.get_rng_state())
        torch.rand(3)
        build(source, *args, **kwargs)

    monkeypatch.setattr(SuperpixelRegions, '__init__', drawing)
    check(data, source=SOURCE)
    assert torch.equal(torch.get_rng_state(), states[0])


def test_other_parameters_are_refused_and_the_command_makes_them_fit(data):
    wanted = {'type': 'SuperpixelRegions', 'min_size': 9}
    message = refusal(data, source=wanted)
    assert 'min_size: 5 in the cache, 9 now' in message
    run_command(command_in(message))
    check(data, source=wanted)
    assert read_manifest(data / 'regions')['source']['min_size'] == 9


def test_an_expectation_takes_the_rest_from_the_cache(data):
    message = refusal(data, expected={'scale': 20.0})
    assert 'scale: 50.0 in the cache, 20.0 now' in message
    assert 'min_size' not in message.partition('Make it fit')[0]
    run_command(command_in(message))
    source = read_manifest(data / 'regions')['source']
    assert (source['scale'], source['min_size']) == (20.0, 5)


def test_the_command_also_mends_a_copy_of_images_and_cache(data, tmp_path):
    copied = shutil.copytree(data, tmp_path / 'copy')
    image = cv2.imread(str(copied / 'gt/1.png'))
    cv2.imwrite(str(copied / 'gt/1.png'), 255 - image)
    shutil.copy(copied / 'gt/1.png', copied / 'gt/9.png')
    shutil.copy(copied / 'img/1.png', copied / 'img/9.png')
    before = (copied / 'regions/0.png').read_bytes()
    message = refusal(copied)
    assert '1 missing: 9; 1 stale: 1' in message
    run_command(command_in(message))
    check(copied)
    assert (copied / 'regions/0.png').read_bytes() == before
    assert (data / 'regions/1.png').read_bytes() != (copied / 'regions/1.png').read_bytes()


def test_weights_that_a_source_finds_by_itself_are_not_asked_for(data):
    described = {'type': 'WeightsOfItsOwn', 'checkpoint_sha256': 'ab'}

    @MODELS.register_module(name='WeightsOfItsOwn', force=True)
    class Source(MODELS.get('SuperpixelRegions')):
        def describe(self):
            return described

    (data / 'regions/0.png').unlink()
    manifest = json.loads((data / 'regions/regions.json').read_text())
    for digest, asked in (('ab', False), ('cd', True)):
        manifest['source'] = {**described, 'checkpoint_sha256': digest}
        (data / 'regions/regions.json').write_text(json.dumps(manifest))
        words = command_in(refusal(data))
        assert (f'FILE_WITH_SHA256_{digest}' in words) is asked
        assert words[4:6] == ['--source', 'WeightsOfItsOwn']


def test_another_type_is_refused(data):
    message = refusal(data, expected={'type': 'SAMRegions', 'checkpoint_sha256': 'abc'})
    assert 'type: SuperpixelRegions in the cache, SAMRegions now' in message
    assert 'checkpoint_sha256: not there in the cache, abc now' in message
    words = command_in(message)
    assert words[words.index('--source') + 1] == 'SAMRegions'
    assert words[words.index('--checkpoint') + 1] == 'FILE_WITH_SHA256_abc'
    assert 'min_size' not in ' '.join(words)


def test_another_type_can_be_accepted_knowingly(data):
    message = refusal(data, expected={'type': 'SAMRegions'})
    option = message.partition('knowingly: --cfg-options ')[2].split('. ')[0]
    assert option == 'custom_hooks.0.expected.type=SuperpixelRegions'
    settings = settings_of(data, expected={'type': 'SAMRegions'})
    settings.merge_from_dict(dict([option.split('=')]))
    assert settings.custom_hooks[0].expected == {'type': 'SuperpixelRegions'}
    assert 'source=None' in refusal(data, source={**SOURCE, 'min_size': 9})


def test_images_are_hashed_only_when_their_files_changed(data, monkeypatch):
    monkeypatch.setattr(check_module, '_SETTLED_NS', 0)
    hashed = []

    def hash_file(path):
        hashed.append(path.relative_to(data).as_posix())
        return files.hash_file(path)

    monkeypatch.setattr(check_module, 'hash_file', hash_file)
    shutil.rmtree(data / 'regions')
    extract(data / 'gt', data / 'regions', dict(SOURCE))
    check(data)
    assert hashed == []  # extraction has remembered sizes and times
    # A copy with the times of another: size and time of change are the same, not all of them.
    image = data / 'gt/1.png'
    times = image.stat()
    pixels = image.read_bytes()
    image.write_bytes(pixels[:-20] + bytes([pixels[-20] ^ 1]) + pixels[-19:])
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert '1 stale: 1' in refusal(data)
    assert hashed == ['gt/1.png', 'img/1.png']
    # Back again: hashed once, and remembered.
    image.write_bytes(pixels)
    check(data)
    assert hashed[2:] == ['gt/1.png']
    check(data)
    assert len(hashed) == 3
    # The thorough check trusts nothing, and writes nothing.
    before = (data / 'regions/regions.json').read_bytes()
    assert verify(data / 'gt', data / 'regions').ok
    assert len(hashed) == 3 + len(list((data / 'gt').iterdir()))
    assert (data / 'regions/regions.json').read_bytes() == before
    # What is remembered of an image says nothing of a map that was made from another.
    shutil.copy(data / 'regions/2.png', data / 'regions/1.png')
    assert '1 stale: 1' in refusal(data)


def test_missing_maps_are_completed_by_the_command(data):
    (data / 'regions/2.png').unlink()
    message = refusal(data)
    assert '1 missing: 2.' in message
    assert '--overwrite' not in message
    run_command(command_in(message))
    check(data)


def test_an_image_that_changed(data):
    for folder in ('gt', 'img'):
        cv2.imwrite(str(data / folder / '1.png'), np.full((32, 32, 3), 9, np.uint8))
    check(data, hash_images=False)
    message = refusal(data)
    assert '1 stale: 1.' in message
    run_command(command_in(message))
    check(data)


def test_maps_of_the_degraded_images_are_as_good(data):
    shutil.rmtree(data / 'regions')
    extract(data / 'img', data / 'regions', dict(SOURCE))
    check(data, source=SOURCE, spot_check=4)


def test_damaged_and_foreign_maps(data):
    path = data / 'regions/0.png'
    path.write_bytes(path.read_bytes()[:-20])
    other = RegionStore(data / 'regions').record('3') | {'fingerprint': '0' * 16}
    write_map(data / 'regions/3.png', RegionStore(data / 'regions').read('3'), other)
    message = refusal(data)
    assert '1 damaged: 0' in message
    assert '1 stale: 3' in message


def test_the_spot_check_finds_a_map_that_only_looks_right(data):
    path = data / 'regions/1.png'
    wrong = np.arange(32 * 32).reshape(32, 32) // 300
    write_map(path, wrong, read_record(path))
    check(data, source=SOURCE)
    assert '1 different: 1.' in refusal(data, source=SOURCE, spot_check=4)
    check(data, source=SOURCE, spot_check=4, tolerance=1.0)
    found = []
    for seed in range(8):
        try:
            check(data, source=SOURCE, spot_check=1, seed=seed)
        except ValueError:
            found.append(seed)
    assert 0 < len(found) < 8


def test_maps_of_unknown_origin(tmp_path):
    data = write_data(tmp_path / 'data')
    check(data)
    assert 'has no regions.json' in refusal(data, expected={'type': 'SuperpixelRegions'})
    (data / 'regions/0.png').unlink()
    message = refusal(data)
    assert '1 missing: 0' in message
    assert str(data / 'gt') in message


def test_nested_datasets(data, tmp_path):
    other = write_data(tmp_path / 'other')
    settings = settings_of(data)
    first, second = (copy.deepcopy(settings.train_dataloader.dataset) for _ in range(2))
    second['dataset']['data_root'] = str(other)
    second['regions'] = str(other / 'regions')
    settings.train_dataloader.dataset = {
        'type': 'ConcatDataset',
        'datasets': [{'type': 'RepeatDataset', 'times': 2, 'dataset': first}, second],
        'ignore_keys': ['dataset_type', 'task_name'],
    }
    with pytest.raises(ValueError, match=r'other/regions does not .*no regions\.json') as caught:
        check(data, settings, source=SOURCE)
    assert 'data/regions does not' not in str(caught.value)


def test_no_cache_at_all(data):
    with pytest.raises(ValueError, match='without cached regions'):
        check(data, settings_of(data, plain_model()))


@pytest.mark.slow
def test_whole_runs(data):
    settings = settings_of(data, source=SOURCE, spot_check=1)
    with_hook = run_training(settings).model.state_dict()
    plain = Config({**settings, 'custom_hooks': [], 'work_dir': str(data.parent / 'plain')})
    without = run_training(plain).model.state_dict()
    # What the check draws does not change the run.
    assert all(value.equal(without[name]) for name, value in with_hook.items())

    (data / 'regions/0.png').unlink()
    settings.work_dir = str(data.parent / 'refused')
    with pytest.raises(ValueError, match='1 missing: 0'):
        run_training(settings)


def test_spot_check_needs_a_source():
    with pytest.raises(ValueError, match='give the source that made them'):
        RegionCacheHook(spot_check=1)


def test_command_from_the_description_of_sam(data):
    manifest = json.loads((data / 'regions/regions.json').read_text())
    generator = {'points_per_side': 16, 'point_grids': None, 'output_mode': 'binary_mask'}
    source = {'type': 'SAMRegions', 'model_type': 'vit_b', 'checkpoint_sha256': 'ab'}
    manifest['source'] = {**source, 'generator': {**generator, 'dtype': 'torch.float32'}}
    (data / 'regions/regions.json').write_text(json.dumps(manifest))
    words = shlex.split(fitting_command(RegionStore(data / 'regions'), {}, None, True))
    assert words[2:] == [
        str(data / 'gt'),
        str(data / 'regions'),
        *('--source', 'SAMRegions', '--checkpoint', 'FILE_WITH_SHA256_ab'),
        *('--cfg-options', 'model_type=vit_b', 'generator.points_per_side=16'),
    ]
    elsewhere = {'0': (data / 'img/0.png',)}  # the images have moved since
    words = shlex.split(fitting_command(RegionStore(data / 'regions'), elsewhere, None, True))
    assert words[2] == str(data / 'img')


def test_check_alone(data):
    store = RegionStore(data / 'regions')
    images = {key: (data / f'gt/{key}.png',) for key in '0123'}
    assert check_cache(store, images, source=MODELS.build(dict(SOURCE))).ok
    assert check_cache(store, {**images, 'a/9': (data / 'gt/9.png',)}).missing == ['a/9']
