from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmagic.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmsamdistill.data_check.preflight import (
    check_prefixes,
    check_test_files,
    without_missing_sets,
)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmagic')


def image(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    return path


def dataset(root, name):
    return {
        'type': 'BasicImageDataset',
        'metainfo': {'dataset_type': name, 'task_name': 'denoising'},
        'data_root': str(root / name),
        'data_prefix': {'gt': 'gt', 'img': 'img'},
        'pipeline': [
            {'type': 'LoadImageFromFile', 'key': 'img'},
            {'type': 'LoadImageFromFile', 'key': 'gt'},
            {'type': 'PackInputs'},
        ],
    }


def config(root, names):
    for name in names:
        if name != 'gone':
            for side in ('gt', 'img'):
                image(root / name / side / '0.png')
    return Config(
        {
            'test_dataloader': [{'dataset': dataset(root, name)} for name in names],
            'test_evaluator': [[{'type': 'PSNR', 'prefix': name}] for name in names],
        }
    )


def test_nothing_is_changed_if_nothing_is_missing(tmp_path):
    cfg = config(tmp_path, ['a', 'b'])
    assert without_missing_sets(cfg) == (cfg, [])
    check_test_files(cfg)


def test_missing_sets_are_named_with_their_folders(tmp_path):
    cfg = config(tmp_path, ['a', 'gone', 'b'])
    with pytest.raises(FileNotFoundError) as error:
        without_missing_sets(cfg)
    assert f'gone needs {tmp_path}/gone/gt (gt)' in str(error.value)
    assert '--skip-missing' in str(error.value)


@pytest.mark.parametrize('names', [['a', 'gone', 'b'], ['a', 'gone'], ['gone', 'b']])
def test_skipping_keeps_sets_and_evaluators_together(tmp_path, names):
    cfg = config(tmp_path, names)
    before = cfg.to_dict()
    ready, skipped = without_missing_sets(cfg, skip=True)
    assert skipped == [f'gone needs {tmp_path}/gone/{side} ({side})' for side in ('gt', 'img')]
    kept = [name for name in names if name != 'gone']
    loaders, evaluators = ready.test_dataloader, ready.test_evaluator
    if len(kept) == 1:
        loaders, evaluators = [loaders], [evaluators]
    assert [each.dataset.metainfo.dataset_type for each in loaders] == kept
    assert [each[0].prefix for each in evaluators] == kept
    assert cfg.to_dict() == before


def test_all_missing_cannot_be_skipped(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone needs'):
        without_missing_sets(config(tmp_path, ['gone', 'gone']), skip=True)
    single = Config({'test_dataloader': {'dataset': dataset(tmp_path, 'gone')}})
    with pytest.raises(FileNotFoundError, match='gone needs'):
        without_missing_sets(single, skip=True)
    with pytest.raises(ValueError, match='test_dataloader'):
        without_missing_sets(Config({}))


def test_missing_partners_and_damaged_files_are_named(tmp_path):
    cfg = config(tmp_path, ['a', 'b'])
    image(tmp_path / 'a/gt/1.png')
    broken = image(tmp_path / 'b/img/0.png')
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(ValueError, match='nothing was tested') as error:
        check_test_files(cfg)
    assert f'a: 1 missing: {tmp_path}/a/img/1.png' in str(error.value)
    assert f'b: 1 unreadable: {broken} (it ends too early)' in str(error.value)


def test_images_of_two_sizes_are_not_the_tests_business(tmp_path):
    """Super-resolution has them."""
    cfg = config(tmp_path, ['a'])
    image(tmp_path / 'a/img/0.png', (4, 4))
    check_test_files(cfg)
    for side in ('gt', 'img'):
        image(tmp_path / 'a' / side / '1.png')
    with pytest.raises(ValueError, match=r'1 of different sizes: 0 \(gt 8 x 8, img 4 x 4\)'):
        check_test_files(cfg)


def test_empty_folders(tmp_path):
    cfg = config(tmp_path, ['a'])
    (tmp_path / 'a/gt/0.png').unlink()
    with pytest.raises(ValueError, match='a: '):
        check_test_files(cfg)


@DATASETS.register_module()
class ListOfNumbers(list):
    """A dataset of one's own, of another kind."""

    def __init__(self):
        super().__init__(range(3))


def test_datasets_of_ones_own_are_left_alone():
    cfg = Config({'test_dataloader': {'dataset': {'type': 'ListOfNumbers'}}})
    assert without_missing_sets(cfg) == (cfg, [])
    check_test_files(cfg)


def test_prefixes():
    a, b, none = (SimpleNamespace(prefix=prefix) for prefix in ('a', 'b', None))
    check_prefixes([[a, a], [b], [none]])
    for again in (a, none):
        with pytest.raises(ValueError, match=f'prefix {again.prefix!r}'):
            check_prefixes([[a, none], [again]])
        with pytest.raises(ValueError, match=f'prefix {again.prefix!r}'):
            check_prefixes([[a, none], [b], [again]])


def spoil(path):
    """Change a byte in the middle: header and end stay whole."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_damage_in_the_middle_names_the_file(tmp_path):
    spoil(image(tmp_path / 'a/img/0.png'))
    image(tmp_path / 'a/gt/0.png')
    check_test_files(config_of(tmp_path))  # not visible from outside
    for wrapped in (dataset(tmp_path, 'a'), concatenated(dataset(tmp_path, 'a'))):
        built = DATASETS.build(wrapped)
        with pytest.raises(ValueError, match=r'a/img/0\.png'):
            built[0]


def config_of(root):
    return Config({'test_dataloader': {'dataset': dataset(root, 'a')}})


def concatenated(inner):
    return {'type': 'ConcatDataset', 'datasets': [{**inner, 'test_mode': True}]}


def test_whole_images_load_as_before(tmp_path):
    jpeg = image(tmp_path / 'a/img/0.jpg')
    # Whatever the name says: OpenCV goes by the content.
    image(tmp_path / 'a/gt/0.png').write_bytes(jpeg.read_bytes())
    jpeg.rename(tmp_path / 'a/img/0.png')
    built = DATASETS.build(dataset(tmp_path, 'a'))
    pixels = cv2.imread(str(tmp_path / 'a/img/0.png'))
    assert (built[0]['inputs'].permute(1, 2, 0).numpy() == pixels).all()
    (tmp_path / 'a/img/0.png').unlink()
    # Another process: this one knows the file as whole.
    built = DATASETS.build(dataset(tmp_path, 'a'))
    with pytest.raises(FileNotFoundError, match=r'a/gt/0\.png|a/img/0\.png'):
        built[0]
