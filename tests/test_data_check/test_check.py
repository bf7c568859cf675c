"""Checking data: every kind of fault is found, named, and nothing else is reported."""

import zlib

import cv2
import lmdb
import numpy as np
import pytest
from mmagic.registry import DATASETS
from mmengine.config import Config
from PIL import Image

from mmsamdistill.cache.map_file import write_map
from mmsamdistill.data_check.check import check_data
from mmsamdistill.data_check.files import leaves_of
from mmsamdistill.data_check.preflight import check_loading, without_missing_sets
from mmsamdistill.images.header import read_header

FINDINGS = ('errors', 'missing', 'extra', 'unreadable', 'sizes', 'small', 'regions', 'remarks')


def picture(height=32, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    """Six sound pairs with region maps."""
    for folder in ('gt', 'img', 'regions'):
        (tmp_path / folder).mkdir()
    for index in range(6):
        for folder in ('gt', 'img'):
            cv2.imwrite(str(tmp_path / folder / f'{index}.png'), picture(seed=index))
        write_map(tmp_path / 'regions' / f'{index}.png', np.ones((32, 40), int), {})
    return tmp_path


def dataset_config(root, **changes):
    steps = [
        *({'type': 'LoadImageFromFile', 'key': key} for key in ('img', 'gt')),
        {'type': 'PairedRandomCrop', 'gt_patch_size': 16},
        {'type': 'PackInputs'},
    ]
    config = {
        'type': 'BasicImageDataset',
        'metainfo': {'dataset_type': 'toy'},
        'data_root': str(root),
        'data_prefix': {'gt': 'gt', 'img': 'img'},
        'pipeline': steps,
    }
    return {**config, **changes}


def with_regions(root, **changes):
    inner = dataset_config(root, **changes)
    return {'type': 'RegionDataset', 'dataset': inner, 'regions': str(root / 'regions')}


def check(dataset, **options):
    (report,) = check_data({'train_dataloader': {'dataset': dataset}}, **options)
    return report


def found(report):
    """What was found, by kind, of those kinds of which anything was."""
    return {name: getattr(report, name) for name in FINDINGS if getattr(report, name)}


@pytest.mark.parametrize('full', [False, True])
def test_sound_data_pass(root, full):
    report = check(with_regions(root), full=full)
    assert found(report) == {}
    assert report.ok
    assert (report.split, report.name, report.samples, len(report.files)) == ('train', 'toy', 6, 12)


def test_missing_pairs_are_named_on_both_sides(root):
    (root / 'img/2.png').unlink()
    (root / 'gt/4.png').unlink()
    report = check(dataset_config(root))
    expected = {'missing': [str(root / 'img/2.png')], 'extra': [str(root / 'img/4.png')]}
    assert found(report) == expected
    assert not report.ok
    assert report.samples == 5


def test_partner_of_another_format_is_no_partner(root):
    cv2.imwrite(str(root / 'img/2.jpg'), cv2.imread(str(root / 'img/2.png')))
    (root / 'img/2.png').unlink()
    report = check(dataset_config(root))
    assert report.missing == [str(root / 'img/2.png')]
    assert report.extra == [str(root / 'img/2.jpg')]


def test_only_the_first_five_are_shown(root):
    for index in range(6):
        (root / f'img/{index}.png').unlink()
    text = str(check(dataset_config(root)))
    assert '6 missing: ' in text
    assert text.count('.png') == 5
    assert text.endswith(', ...')


def test_damage_at_the_end_is_found_at_once_and_in_the_middle_by_decoding(root):
    path = root / 'gt/0.png'
    path.write_bytes(path.read_bytes()[:-100])
    (root / 'gt/1.png').write_bytes(b'')
    (root / 'gt/2.png').write_bytes(b'no image at all')
    middle = bytearray((root / 'gt/3.png').read_bytes())
    middle[len(middle) // 2] ^= 255
    (root / 'gt/3.png').write_bytes(middle)
    jpeg = cv2.imencode('.jpg', picture())[1].tobytes()
    (root / 'gt/4.png').write_bytes(jpeg[:-200])
    names = [each.partition(' ')[0] for each in check(dataset_config(root)).unreadable]
    assert names == [str(root / f'gt/{index}.png') for index in (0, 1, 2, 4)]
    assert len(check(dataset_config(root), full=True).unreadable) == 5


def test_different_sizes_and_small_images_are_told(root):
    cv2.imwrite(str(root / 'img/1.png'), picture(32, 30))
    for folder in ('gt', 'img'):
        cv2.imwrite(str(root / folder / '3.png'), picture(15, 40))
    report = check(dataset_config(root))
    assert report.sizes == ['1 (gt 32 x 40, img 32 x 30)']
    assert report.small == [f'{root / folder / "3.png"} (15 x 40)' for folder in ('gt', 'img')]
    uncropped = dataset_config(root)
    del uncropped['pipeline'][2]
    assert not check(uncropped).small
    for size, count in ((16, 0), (15, 2)):
        padded = dataset_config(root)
        padded['pipeline'].insert(2, {'type': 'PadToPatch', 'keys': ['img', 'gt'], 'size': size})
        assert len(check(padded).small) == count


def test_what_a_loader_changes_silently_is_remarked_but_does_not_fail(root):
    cv2.imwrite(str(root / 'gt/0.png'), picture()[..., 0])
    cv2.imwrite(str(root / 'gt/1.png'), np.dstack([picture(), picture()[..., :1]]))
    cv2.imwrite(str(root / 'gt/2.png'), picture().astype(np.uint16) * 257)
    cv2.imwrite(str(root / 'gt/3.png'), picture()[..., 0].astype(np.uint16) * 257)
    report = check(dataset_config(root))
    kinds = ['grey', 'alpha', 'more than 8 bits', 'grey, more than 8 bits']
    expected = [f'{root / "gt"}/{index}.png ({kind})' for index, kind in enumerate(kinds)]
    assert report.remarks == expected
    assert report.ok
    grey = dataset_config(root)
    grey['pipeline'][1]['color_type'] = 'grayscale'
    assert check(grey).remarks == []


def test_photographs_are_measured_as_they_are_loaded(tmp_path):
    """A camera's orientation counts, as in the loader."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(32, 40)).save(tmp_path / 'a.jpg', exif=exif)
    loaded = cv2.imread(str(tmp_path / 'a.jpg'), cv2.IMREAD_COLOR)
    assert read_header(tmp_path / 'a.jpg').size == loaded.shape[:2] == (40, 32)


def test_region_maps_that_are_missing_or_do_not_fit(root):
    (root / 'regions/0.png').unlink()
    write_map(root / 'regions/1.png', np.ones((32, 41), int), {})
    data = (root / 'regions/2.png').read_bytes()
    (root / 'regions/2.png').write_bytes(data[:-8])
    cv2.imwrite(str(root / 'regions/3.png'), picture())
    report = check(with_regions(root))
    assert [each.split(' ', 1)[1].split(' (')[0] for each in report.regions] == [
        'has none',
        'is 32 x 41, its image 32 x 40',
        'is damaged',
        'is no label map: it has more than one channel',
    ]
    assert {*found(report)} == {'regions'}
    assert found(check(dataset_config(root))) == {}


def test_absent_folders_are_named_before_anything_is_read(root):
    nowhere = with_regions(root, data_prefix={'gt': 'gt', 'img': 'nowhere'})
    nowhere['regions'] = str(root / 'nomaps')
    report = check(nowhere)
    lines = [f'there is no {root}/nowhere (img)', f'there is no {root}/nomaps (regions)']
    assert report.errors == lines
    assert report.samples == 0
    loader = {'dataset': nowhere}
    cfg = {
        'test_dataloader': [{'dataset': dataset_config(root)}, loader],
        'test_evaluator': [{}, {}],
    }
    _, missing = without_missing_sets(Config(cfg), skip=True)
    assert missing == [f'toy needs {root}/nowhere (img)', f'toy needs {root}/nomaps (regions)']


def test_images_are_checked_even_without_region_maps(root):
    (root / 'img/2.png').unlink()
    dataset = {**with_regions(root), 'regions': str(root / 'nomaps')}
    report = check(dataset)
    assert {*found(report)} == {'errors', 'missing', 'regions'}
    assert report.regions == [f'all: there is no folder {root / "nomaps"}']


def test_empty_folders_are_an_error(root):
    for path in (root / 'gt').iterdir():
        path.unlink()
    report = check(dataset_config(root))
    assert 'no images' in report.errors[0]
    assert len(report.extra) == 6


def test_templates_prefixes_and_lists_of_files_count_as_in_training(root):
    for index in range(6):
        (root / f'img/{index}.png').rename(root / f'img/{index}_NOISY.png')
    templates = {'filename_tmpl': {'gt': '{}', 'img': '{}_NOISY'}}
    assert found(check(with_regions(root, **templates), full=True)) == {}
    (root / 'gt/5.png').unlink()
    assert check(dataset_config(root, **templates)).extra == [str(root / 'img/5_NOISY.png')]
    (root / 'list.txt').write_text('0.png\n1.png\n')
    listed = check(dataset_config(root, **templates, ann_file='list.txt'))
    assert (found(listed), listed.samples) == ({}, 2)
    part = check(dataset_config(root, **templates, indices=3))
    assert (found(part), part.samples) == ({}, 3)


@pytest.mark.parametrize('prefix', [{'img': 'img'}, {'img': 'img', 'truth': 'gt'}])
def test_what_the_pipeline_loads_and_no_prefix_names_is_an_error(root, prefix):
    report = check(dataset_config(root, data_prefix=prefix))
    only = ', '.join(prefix)
    assert report.errors == [f"its pipeline loads 'gt', data_prefix has only {only}"]
    assert not report.ok


def test_two_images_of_one_name_would_share_a_region_map(root):
    for folder in ('gt', 'img'):
        cv2.imwrite(str(root / folder / '1.jpg'), picture(seed=9))
    assert check(dataset_config(root)).ok
    (problem,) = check(with_regions(root)).regions
    for part in ('regions/1.png', 'gt/1.png', 'gt/1.jpg'):
        assert str(root / part) in problem


def test_degraded_images_of_one_truth_share_its_map(root):
    for index in range(2):
        cv2.imwrite(str(root / 'img' / f'1_{index}.png'), picture(seed=1))
    names = ''.join(f'1_{index}.png (32,40,3)\n' for index in range(2))
    (root / 'list.txt').write_text(names)
    dataset = with_regions(root, ann_file='list.txt', filename_tmpl={'gt': '{}', 'img': '{}'})
    (root / 'gt/1_0.png').symlink_to(root / 'gt/1.png')
    (root / 'gt/1_1.png').symlink_to(root / 'gt/1.png')
    for index in range(2):
        write_map(root / 'regions' / f'1_{index}.png', np.ones((32, 40), int), {})
    assert check(dataset).ok


@pytest.mark.parametrize('kind', ['grey', 'alpha'])
def test_images_of_different_channels_cannot_be_loaded_unchanged(root, kind):
    pixels = picture(seed=1)
    odd = pixels[..., 0] if kind == 'grey' else np.dstack([pixels, pixels[..., :1]])
    cv2.imwrite(str(root / 'img/1.png'), odd)
    dataset = dataset_config(root)
    assert check(dataset).ok
    dataset['pipeline'][0]['color_type'] = 'unchanged'
    (error,) = check(dataset).errors
    count = 1 if kind == 'grey' else 4
    assert f'{root / "img/1.png"} has {count}' in error
    assert f'{root / "img/0.png"} has 3' in error
    dataset['pipeline'][0]['color_type'] = 'grayscale'
    assert check(dataset).ok


def test_orders_that_differ_within_a_sample_are_an_error(root):
    dataset = dataset_config(root)
    dataset['pipeline'][0]['channel_order'] = 'rgb'
    text = 'img as rgb, gt as bgr: a model would learn to exchange the channels'
    assert check(dataset).errors == [text]
    with pytest.raises(ValueError, match=f'train_dataloader, toy: {text}'):
        check_loading(Config({'train_dataloader': {'dataset': dataset}}))
    dataset['pipeline'][0]['color_type'] = 'grayscale'
    assert check(dataset).ok


def test_a_truth_that_is_taken_for_the_degraded_image_is_an_error(root):
    prefix = {'img': 'gt', 'gt': 'gt'}
    dataset = dataset_config(root, data_prefix=prefix)
    assert check(dataset).errors == ["img and gt are both loaded from 'gt'"]
    dataset['pipeline'].insert(2, {'type': 'AddGaussianNoise'})
    assert check(dataset).ok


def test_another_order_of_channels_in_validation_is_remarked_on(root):
    val = dataset_config(root)
    val['pipeline'][0]['channel_order'] = 'rgb'
    loaders = {'train_dataloader': {'dataset': dataset_config(root)}}
    train, other = check_data({**loaders, 'val_dataloader': {'dataset': val}})
    assert train.remarks == []
    assert other.remarks == ['img is loaded as rgb, in train as bgr']
    val['pipeline'][0].update(channel_order='bgr')
    assert not any(r.remarks for r in check_data({**loaders, 'val_dataloader': {'dataset': val}}))


def test_nested_datasets_are_taken_apart(root, tmp_path):
    inner = dataset_config(root)
    nested = {
        'type': 'RegionDataset',
        'regions': [str(root / 'regions'), str(root / 'nomaps')],
        'dataset': {
            'type': 'ConcatDataset',
            'ignore_keys': 'dataset_type',
            'datasets': [
                {'type': 'RepeatDataset', 'times': 3, 'dataset': inner},
                {**inner, 'metainfo': {'dataset_type': 'second'}},
            ],
        },
    }
    leaves = [(leaf.name, leaf.regions) for leaf in leaves_of(nested)]
    assert leaves == [('toy', str(root / 'regions')), ('second', str(root / 'nomaps'))]
    first, second = check_data({'train_dataloader': {'dataset': nested}})
    assert (first.ok, second.ok) == (True, False)
    # Parts in the same folders are one data set.
    parts = {'type': 'ConcatDataset', 'datasets': [inner, inner]}
    report = check(parts)
    assert (report.samples, len(report.files)) == (12, 12)
    with pytest.raises(ValueError, match='3 region caches for 2 datasets'):
        list(leaves_of({**nested, 'regions': ['a', 'b', 'c']}))
    with pytest.raises(TypeError, match='configuration'):
        list(leaves_of([]))


@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize(
    ('metainfo', 'ignored', 'message'),
    [
        ({'dataset_type': 'b'}, None, r"differs in 'dataset_type' \('toy', 'b'\)"),
        ({}, None, r"differs in 'dataset_type' \('toy', 'basic_image_dataset'\)"),
        ({'dataset_type': 'toy', 'task_name': 'x'}, 'dataset_type', "differs in 'task_name'"),
        ({'dataset_type': 'toy', 'task_name': 'editing'}, None, None),  # as by default
        ({'dataset_type': 'b'}, 'dataset_type', None),
        ({'dataset_type': 'b', 'task_name': 'x'}, ['dataset_type', 'task_name'], None),
    ],
)
def test_data_that_cannot_be_joined_are_an_error(root, metainfo, ignored, message, wrapped):
    inner = dataset_config(root)
    parts = {'type': 'ConcatDataset', 'datasets': [inner, {**inner, 'metainfo': metainfo}]}
    parts |= {'ignore_keys': ignored} if ignored else {}
    whole = {'type': 'RepeatDataset', 'times': 2, 'dataset': parts} if wrapped else parts
    cfg = Config({'train_dataloader': {'dataset': whole}})
    errors = [error for report in check_data(cfg) for error in report.errors]
    if message is None:
        check_loading(cfg)
        assert not errors
        DATASETS.build(parts)
        return
    with pytest.raises(ValueError, match=f'^train_dataloader: ConcatDataset .*{message}.* ignore_'):
        check_loading(cfg)
    assert len(errors) == 1  # once, though it is of both
    with pytest.raises(ValueError, match='meta information'):
        DATASETS.build(parts)


def test_splits_and_lists_of_dataloaders(root):
    loader = {'dataset': dataset_config(root)}
    other = {'dataset': dataset_config(root, metainfo={'dataset_type': 'other'})}
    cfg = {'train_dataloader': loader, 'val_dataloader': loader, 'test_dataloader': [loader, other]}
    names = [(report.split, report.name) for report in check_data(cfg)]
    assert names == [('train', 'toy'), ('val', 'toy'), ('test', 'toy'), ('test', 'other')]
    assert [report.split for report in check_data(cfg, ['val'])] == ['val']
    with pytest.raises(ValueError, match='validation'):
        check_data(cfg, ['validation'])


def test_datasets_of_another_kind_are_told_not_to_be_checkable(root):
    @DATASETS.register_module()
    class ToyUnlisted:
        def __init__(self, pipeline):
            self.pipeline = pipeline

    try:
        report = check({'type': 'ToyUnlisted'})
    finally:
        DATASETS.module_dict.pop('ToyUnlisted')
    assert 'cannot be listed' in report.errors[0]


def test_progress_is_shown_for_each_dataset(root):
    calls = []

    def track(items, title, total):
        calls.append((title, total))
        return items

    check(dataset_config(root), track=track, workers=1)
    assert calls == [('train, toy', 6)]


def write_lmdb(path, images):
    """An LMDB as BasicSR and MMagic make it: names without suffix, and a list of them."""
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as txn:
        for name, image in images.items():
            txn.put(name.encode(), cv2.imencode('.png', image)[1].tobytes())
    lines = [f'{name}.png {str(image.shape).replace(" ", "")} 1' for name, image in images.items()]
    (path / 'meta_info.txt').write_text('\n'.join(lines) + '\n')


def lmdb_config(root):
    config = dataset_config(root, ann_file='gt.lmdb/meta_info.txt')
    config['data_prefix'] = {'gt': 'gt.lmdb', 'img': 'img.lmdb'}
    for step in config['pipeline'][:2]:
        database = str(root / f'{step["key"]}.lmdb')
        step['backend_args'] = {'backend': 'lmdb', 'db_path': database}
    return config


def test_databases_are_checked_like_folders(root):
    images = {str(index): picture(seed=index) for index in range(6)}
    write_lmdb(root / 'gt.lmdb', images)
    write_lmdb(root / 'img.lmdb', images)
    dataset = {
        'type': 'RegionDataset',
        'dataset': lmdb_config(root),
        'regions': str(root / 'regions'),
    }
    report = check(dataset, full=True)
    assert (found(report), report.samples, len(report.files)) == ({}, 6, 12)
    other = {**images, 'x': picture(), '1': picture(20, 20)}
    del other['4']
    (root / 'img.lmdb/data.mdb').unlink()
    write_lmdb(root / 'img.lmdb', other)
    report = check(dataset)
    assert report.missing == [f'4 in {root}/img.lmdb']
    assert report.sizes == ['1 (gt 32 x 40, img 20 x 20)']
    (root / 'img.lmdb/data.mdb').write_bytes(b'no database' * 1000)
    assert 'no LMDB' in check(dataset).errors[0]


def test_unlisted_images_of_a_database_are_told(root):
    images = {str(index): picture(seed=index) for index in range(2)}
    write_lmdb(root / 'gt.lmdb', images)
    write_lmdb(root / 'img.lmdb', {**images, 'x': picture()})
    assert check(lmdb_config(root)).extra == [f'x in {root}/img.lmdb']


def test_nested_folders_are_counted_and_the_way_to_read_them_is_named(root):
    for folder in ('gt', 'img'):
        (root / folder / 'a').mkdir()
        for path in (root / folder).glob('*.png'):
            path.rename(root / folder / 'a' / path.name)
    report = check(dataset_config(root))
    (error,) = report.errors
    assert 'no images that the dataset takes' in error
    assert f'{root / "gt"}: 6 images in folders below it are not read' in error
    assert 'recursive=True' in error
    assert check(dataset_config(root, recursive=True)).ok


def test_what_is_not_read_is_remarked_on(root):
    for name in ('6.Png', '7.webp', '8.heic', '.9.png', 'sub/10.png', 'notes'):
        for folder in ('gt', 'img'):
            (root / folder / 'sub').mkdir(exist_ok=True)
            (root / folder / name).touch()
    (root / 'gt/loop').symlink_to(root / 'gt')
    report = check(dataset_config(root))
    assert report.ok
    kinds = {'.Png', '.webp', '.heic', 'hidden', 'without suffix'}
    assert len(report.remarks) == 4
    for remark in report.remarks[1::2]:
        assert '5 files are not read' in remark
        assert all(f'1 {kind}' in remark for kind in kinds)
    assert report.remarks[0] == (
        f'{root / "gt"}: 1 images in folders below it are not read; recursive=True reads them'
    )


@pytest.mark.parametrize('kind', ['JPEG', 'MPO', 'PNG', 'WEBP'])
@pytest.mark.parametrize('color_type', ['color', 'unchanged'])
def test_orientation_counts_as_in_the_loader(tmp_path, kind, color_type):
    exif = Image.Exif()
    exif[0x0112] = 6
    suffix = {'PNG': 'png', 'WEBP': 'tif'}.get(kind, 'jpg')  # by content: MMagic takes no .webp
    for folder in ('gt', 'img'):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture(32, 40)).save(tmp_path / folder / f'a.{suffix}', kind, exif=exif)
    write_map(tmp_path / 'regions/a.png', np.ones((40, 32), int), {})
    dataset = with_regions(tmp_path)
    for step in dataset['dataset']['pipeline'][:2]:
        step['color_type'] = color_type
    assert found(check(dataset, full=True)) == {}
    dataset['dataset']['pipeline'].insert(2, {'type': 'SetValues', 'dictionary': {'scale': 1}})
    assert DATASETS.build(dataset)[0]['data_samples'].regions.shape == (1, 16, 16)


def test_sizes_are_those_that_the_loader_gives(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder, options in (('gt', {'exif': exif}), ('img', {})):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture(32, 40)).save(tmp_path / folder / 'a.jpg', **options)
    dataset = dataset_config(tmp_path)
    assert check(dataset).sizes == ['a (gt 40 x 32, img 32 x 40)']
    for step in dataset['pipeline'][:2]:
        step['color_type'] = 'color_ignore_orientation'
    assert check(dataset).sizes == []


def test_an_image_too_large_is_one_image_and_not_the_end(root, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 32 * 40 // 2 - 1)
    report = check(dataset_config(root))
    assert len(report.unreadable) == 12
    assert 'too large' in report.unreadable[0]


@pytest.mark.parametrize(
    ('std', 'color_type', 'count'),
    [(255, 'unchanged', 12), (255, 'color', 0), (65535, 'unchanged', 0), (65535, 'color', 12)],
)
def test_white_that_the_model_does_not_expect_is_remarked_on(root, std, color_type, count):
    for folder in ('gt', 'img'):
        for index in range(6):
            deep = picture(seed=index).astype(np.uint16) * 257
            cv2.imwrite(str(root / folder / f'{index}.png'), deep)
    dataset = dataset_config(root)
    for step in dataset['pipeline'][:2]:
        step['color_type'] = color_type
    preprocessor = {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [float(std)] * 3}
    inner = {'type': 'BaseEditModel', 'data_preprocessor': preprocessor}
    model = {'type': 'SAMDistillRestorer', 'restorer': inner}
    (report,) = check_data({'model': model, 'train_dataloader': {'dataset': dataset}})
    assert len([each for each in report.remarks if 'white is' in each]) == count
    # What the cascade is told counts before what mean and std tell.
    told = {**model, 'value_range': 65535.0 if std == 255 else 255.0}
    (report,) = check_data({'model': told, 'train_dataloader': {'dataset': dataset}})
    assert len([each for each in report.remarks if 'white is' in each]) == 12 - count


def test_a_record_that_cannot_be_read_is_found(root):
    path = root / 'regions/0.png'
    png = path.read_bytes()
    begin = png.index(b'tEXt') - 4
    body = b'tEXtmmsamdistill\0' + b'[' * 100_000
    chunk = (len(body) - 4).to_bytes(4, 'big') + body + zlib.crc32(body).to_bytes(4, 'big')
    path.write_bytes(png[:begin] + chunk + png[begin:])
    assert 'is damaged' in check(with_regions(root)).regions[0]


def test_databases_that_are_cut_off_are_no_signal(root):
    for name in ('gt', 'img'):
        write_lmdb(root / f'{name}.lmdb', {str(index): picture(seed=index) for index in range(6)})
    path = root / 'gt.lmdb/data.mdb'
    path.write_bytes(path.read_bytes()[:-9000])
    report = check(lmdb_config(root))
    assert 'data.mdb is damaged' in report.errors[0]
