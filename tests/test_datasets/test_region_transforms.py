"""Region maps through MMagic's own transforms: they go exactly where their images go."""

import random
import shlex

import cv2
import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from mmagic.registry import TRANSFORMS
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from mmsamdistill.cache.extract import extract
from mmsamdistill.cache.map_file import write_map
from mmsamdistill.datasets import CarryRegions, LoadRegionMap, add_regions_to_pipeline
from mmsamdistill.datasets.transforms.regions import _random_state, _replayed
from mmsamdistill.sources import RegionSource, SuperpixelRegions

BOTH = ['img', 'gt']


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('mmagic')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """An image whose pixels say their label: blue and green are its two bytes."""
    root = tmp_path_factory.mktemp('data')
    labels = np.random.default_rng(0).permutation(37 * 41).reshape(37, 41) + 1
    image = np.stack([labels % 256, labels // 256, labels % 7], -1).astype(np.uint8)
    cv2.imwrite(str(root / 'gt.png'), image)
    cv2.imwrite(str(root / 'img.png'), image)
    write_map(root / 'regions' / 'a' / 'x.png', labels, {})
    return root


def labels_in(image):
    image = image.astype(np.int64)
    return image[0] + 256 * image[1]


def load():
    return [{'type': 'LoadImageFromFile', 'key': key} for key in BOTH]


def results(data):
    paths = {f'{key}_path': str(data / f'{key}.png') for key in BOTH}
    return {'key': 'a/x', 'scale': 1, **paths}


FLIPS = st.builds(
    lambda direction, ratio: {
        'type': 'Flip',
        'keys': BOTH,
        'flip_ratio': ratio,
        'direction': direction,
    },
    st.sampled_from(['horizontal', 'vertical']),
    st.sampled_from([0.0, 0.5, 1.0]),
)
TRANSPOSES = st.builds(
    lambda ratio: {'type': 'RandomTransposeHW', 'keys': BOTH, 'transpose_ratio': ratio},
    st.sampled_from([0.5, 1.0]),
)
PAIRED_CROPS = st.builds(
    lambda size: {'type': 'PairedRandomCrop', 'gt_patch_size': size}, st.integers(1, 12)
)
CENTRE_CROPS = st.builds(
    lambda h, w: {'type': 'Crop', 'keys': BOTH, 'crop_size': (h, w), 'random_crop': False},
    st.integers(12, 50),
    st.integers(12, 50),
)
FIXED_CROPS = st.builds(
    lambda h, w, pos: {'type': 'FixedCrop', 'keys': BOTH, 'crop_size': (h, w), 'crop_pos': pos},
    st.integers(12, 30),
    st.integers(12, 30),
    st.none() | st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
PADS = st.builds(
    lambda top, left, mode: {
        'type': 'NumpyPad',
        'keys': BOTH,
        'padding': ((top, 1), (left, 2), (0, 0)),
        'mode': mode,
    },
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(['constant', 'reflect', 'edge', 'symmetric', 'wrap']),
)
LONG_EDGE = st.just({'type': 'CenterCropLongEdge', 'keys': BOTH})
APPLY = st.builds(lambda flip: {'type': 'RandomApply', 'transforms': [flip], 'prob': 0.5}, FLIPS)
CHOICE = st.builds(
    lambda one, two, pad: {'type': 'RandomChoice', 'transforms': [[one, pad], [two]]},
    FLIPS,
    CENTRE_CROPS,
    PADS,
)
SOME = st.one_of(FLIPS, CENTRE_CROPS, FIXED_CROPS, PADS, LONG_EDGE, APPLY, CHOICE)


@st.composite
def pipelines(draw):
    steps = draw(st.lists(SOME, max_size=4))
    # OpenCV cannot flip MMagic's transposed views, with or without regions: transpose after flips.
    steps += draw(st.lists(TRANSPOSES, max_size=2))
    steps += draw(st.lists(st.one_of(PADS, FIXED_CROPS, TRANSPOSES), max_size=2))
    return steps + draw(st.lists(PAIRED_CROPS, max_size=1))


@settings(deadline=None, max_examples=150)
@given(steps=pipelines(), seed=st.integers(0, 2**31))
def test_image_truth_and_regions_agree_pixel_for_pixel(data, steps, seed):
    plain = [*load(), *steps, {'type': 'PackInputs'}]
    carried = add_regions_to_pipeline(plain, str(data / 'regions'))
    packed, ends = [], []
    for pipeline in (plain, carried):
        np.random.seed(seed)
        random.seed(seed)
        torch.manual_seed(seed)
        try:
            packed.append(Compose(pipeline)(results(data)))
        except (cv2.error, ValueError) as error:
            packed.append(type(error))  # what MMagic cannot do plainly, e.g. a crop too large
            continue
        ends.append((np.random.random(), random.random(), torch.rand(1).item()))
    if isinstance(packed[0], type):
        assert packed[1] is packed[0]
        event('the host itself refuses')
        return
    event('carried')
    sample = packed[1]['data_samples']
    regions = sample.regions
    assert regions.dtype == torch.int32
    assert regions.shape == (1, *packed[1]['inputs'].shape[1:])
    expected = labels_in(sample.gt_img.numpy())
    # A padded pixel is in no region, or has the label of the pixel that it repeats.
    assert np.array_equal(regions[0].numpy(), expected)
    assert np.array_equal(labels_in(packed[1]['inputs'].numpy()), expected)
    # The images, and all random numbers after them, are those of the pipeline without regions.
    assert torch.equal(packed[0]['inputs'], packed[1]['inputs'])
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    'crop',
    [
        {'type': 'Crop', 'keys': ['gt'], 'crop_size': (9, 8)},
        {'type': 'Crop', 'keys': ['gt'], 'crop_size': (50, 20), 'is_pad_zeros': True},
        {'type': 'ModCrop', 'key': 'gt'},
        {'type': 'RandomCropLongEdge', 'keys': ['gt']},
    ],
)
def test_crops_of_one_image_that_is_copied_afterwards(data, crop):
    pipeline = [
        {'type': 'LoadImageFromFile', 'key': 'gt'},
        crop,
        {'type': 'CopyValues', 'src_keys': ['gt'], 'dst_keys': ['img']},
        {'type': 'PackInputs'},
    ]
    np.random.seed(1)
    carried = Compose(add_regions_to_pipeline(pipeline, str(data / 'regions')))
    for _ in range(5):
        packed = carried({**results(data), 'scale': 4})
        found = packed['data_samples'].regions[0].numpy()
        assert np.array_equal(found, labels_in(packed['inputs'].numpy()))


def test_padding_with_a_colour_is_no_region(data):
    pad = {'type': 'NumpyPad', 'keys': BOTH, 'padding': ((0, 3), (0, 0), (0, 0))}
    for extra in ({'mode': 'constant', 'constant_values': 9}, {'mode': 'mean'}):
        pipeline = [*load(), {**pad, **extra}, {'type': 'PackInputs'}]
        packed = Compose(add_regions_to_pipeline(pipeline, str(data / 'regions')))(results(data))
        assert packed['data_samples'].regions.shape == (1, 40, 41)
        assert not packed['data_samples'].regions[0, 37:].any()
        assert packed['data_samples'].regions[0, :37].all()


@TRANSFORMS.register_module()
class RollAll:
    """A user's own: rolls every key of its list by a random step."""

    def __init__(self, names):
        self.names = names

    def __call__(self, results):
        step = np.random.randint(1, 9)
        return {**results, **{name: np.roll(results[name], step, 0) for name in self.names}}


@TRANSFORMS.register_module()
class RollPair(RollAll):
    """A user's own that knows two keys, and uses every source of random numbers."""

    def __init__(self):
        super().__init__(BOTH)

    def __call__(self, results):
        results = super().__call__(results)
        step = random.randint(1, 9) + int(torch.randint(1, 9, ()))
        return {**results, **{name: np.roll(results[name], step, 1) for name in self.names}}


@pytest.mark.parametrize(
    ('own', 'geometric'),
    [
        ({'type': 'RollAll', 'names': BOTH}, {'RollAll': 'names'}),
        ({'type': 'RollPair'}, {'RollPair': True}),
    ],
)
def test_transforms_of_ones_own_are_declared(data, own, geometric):
    pipeline = [*load(), own, {'type': 'PackInputs'}]
    with pytest.raises(ValueError, match=f"geometric={{'{own['type']}'"):
        add_regions_to_pipeline(pipeline, 'x')
    carried = Compose(add_regions_to_pipeline(pipeline, str(data / 'regions'), geometric))
    packed = carried(results(data))
    found = packed['data_samples'].regions[0].numpy()
    assert np.array_equal(found, labels_in(packed['inputs'].numpy()))
    assert found[0, 0] != 1 or found[0, 1] != 2


def test_a_transform_that_skips_the_image_is_respected(data):
    sample = {'gt': np.zeros((2, 2, 3)), 'regions': np.zeros((2, 2, 1), np.int32)}
    assert CarryRegions(lambda results: None)(sample) is None
    assert CarryRegions(lambda results: None, as_list=True)(sample) is None


def test_what_takes_lists_runs_once_and_may_draw_from_a_generator_of_its_own():
    generator = np.random.default_rng(0)

    def shift(results):
        step = int(generator.integers(1, 9))
        return {**results, 'gt': [np.roll(each, step, axis=0) for each in results['gt']]}

    labels = np.arange(16, dtype=np.int32).reshape(16, 1, 1)
    sample = {'gt': labels.astype(float), 'img': 'as it is', 'regions': labels}
    for _ in range(5):
        moved = CarryRegions(shift, as_list=True)(sample)
        assert not np.array_equal(moved['regions'], labels)
        assert np.array_equal(moved['regions'], moved['gt'])
        assert moved['img'] == 'as it is'
    assert sample['gt'] is not moved['gt']
    assert np.array_equal(sample['regions'][:, 0, 0], range(16))


def test_what_a_transform_notes_beside_the_images_it_notes_once():
    def shift(results):
        results['steps'].append(3)
        return {**results, 'gt': np.roll(results['gt'], sum(results['steps']), axis=0)}

    labels = np.arange(16, dtype=np.int32).reshape(16, 1, 1)
    moved = CarryRegions(shift)({'gt': labels.astype(float), 'regions': labels, 'steps': []})
    assert moved['steps'] == [3]
    assert np.array_equal(moved['regions'], moved['gt'])


def test_carrying_what_cannot_be_carried_is_an_error():
    def transform(results):
        shape = (3, 3, 3) if results['gt'].shape[-1] == 3 else (2, 2, 1)
        return {**results, 'gt': np.zeros(shape)}

    sample = {'gt': np.zeros((2, 2, 3)), 'regions': np.zeros((2, 2, 1), np.int32)}
    with pytest.raises(ValueError, match='cannot be carried'):
        CarryRegions(transform)(sample)
    with pytest.raises(KeyError, match='regions'):
        CarryRegions(transform)({'gt': np.zeros((2, 2, 3))})


def test_arguments_of_carry_name_the_map_and_the_images():
    double = CarryRegions(
        lambda results: {**results, 'x': results['x'] * 2}, key='map', image_keys=['x']
    )
    sample = double({'x': np.ones((2, 2, 3)), 'map': np.full((2, 2, 1), 3, np.int32)})
    assert (sample['map'] == 6).all()
    assert (sample['x'] == 2).all()


def test_load_puts_three_axes_and_leaves_its_argument_alone(data):
    given_ = {'key': 'a/x', 'gt': np.zeros((37, 41, 3))}
    loaded = LoadRegionMap(str(data / 'regions'), key='map')(given_)
    assert loaded['map'].shape == (37, 41, 1)
    assert loaded['map'].dtype == np.int32
    assert set(given_) == {'key', 'gt'}
    assert 'map' in repr(LoadRegionMap(str(data / 'regions'), key='map'))


@pytest.mark.parametrize(
    'names',
    [
        {'key': 'a/x'},
        {'key': 'a\\x'},
        {'key': 'a/0', 'gt_path': '/somewhere/a/x.jpg'},
        {'key': 'a/0', 'gt_path': '/b/0_gt.png', 'img_path': '/b/x.png'},
    ],
)
def test_load_finds_the_map_by_key_or_by_the_files_name(data, names):
    load_map = LoadRegionMap(str(data / 'regions'))
    assert load_map({'gt': np.zeros((37, 41, 3)), **names})['regions'].shape == (37, 41, 1)


def test_load_without_a_key_takes_the_files_name(data):
    load_map = LoadRegionMap(str(data / 'regions' / 'a'))
    loaded = load_map({'img': np.zeros((37, 41, 3)), 'img_path': 'q/x.png'})
    assert loaded['regions'].shape == (37, 41, 1)


def test_missing_map_names_image_map_and_command(data):
    load_map = LoadRegionMap(str(data / 'regions'))
    with pytest.raises(FileNotFoundError) as caught:
        load_map({'gt': np.zeros((2, 2, 3)), 'key': 'q', 'gt_path': 'gt/q.jpg'})
    for part in ('gt/q.jpg', 'regions/q.png', 'extract_regions gt '):
        assert part in str(caught.value)


def test_mis_sized_map_names_files_and_both_sizes(data):
    load_map = LoadRegionMap(str(data / 'regions'))
    with pytest.raises(ValueError, match='37 x 41') as caught:
        load_map({'gt': np.zeros((41, 37, 3)), 'key': 'a/x', 'gt_path': 'gt/a/x.jpg'})
    for part in ('regions/a/x.png', 'gt/a/x.jpg', '41 x 37', 'extract_regions'):
        assert part in str(caught.value)


@pytest.mark.parametrize('name', ['9', '0'], ids=['missing', 'of another image'])
def test_the_command_is_that_of_the_whole_cache(tmp_path, name):
    for index in range(2):
        (tmp_path / 'gt/a').mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f'gt/a/{index}.png'), np.zeros((12, 16, 3), np.uint8))
    extract(tmp_path / 'gt', tmp_path / 'regions', SuperpixelRegions(min_size=7))
    sample = {'key': f'a/{name}', 'gt_path': str(tmp_path / f'gt/a/{name}.png')}
    with pytest.raises((FileNotFoundError, ValueError)) as error:
        LoadRegionMap(tmp_path / 'regions')({**sample, 'gt': np.zeros((5, 5, 3))})
    command = shlex.split(str(error.value).partition('by: ')[2])
    # Nothing that would make the other maps anew, or others in their place.
    assert command[2:4] == [str(tmp_path / 'gt'), str(tmp_path / 'regions')]
    assert command[4:6] == ['--source', 'SuperpixelRegions']
    assert 'min_size=7' in command
    assert '--overwrite' not in command


def test_load_says_what_it_needs(data):
    load_map = LoadRegionMap(str(data / 'regions'))
    with pytest.raises(KeyError, match='gt_path'):
        load_map({'gt': np.zeros((2, 2, 3))})
    with pytest.raises(KeyError, match='after the transforms that load'):
        load_map({'key': 'a/x'})
    with pytest.raises(ValueError, match='sequence of frames'):
        load_map({'key': 'a/x', 'gt': [np.zeros((37, 41, 3))]})
    with pytest.raises(FileNotFoundError, match=r'extract_regions'):
        LoadRegionMap(str(data / 'nowhere'))


class Bright(RegionSource):
    """One region: what is bright."""

    def find(self, images, data_samples=None):
        return (images[:, 0] > 0.5).long()

    def describe(self):
        return {'type': 'Bright'}


@pytest.mark.parametrize('kind', ['JPEG', 'MPO', 'PNG', 'WEBP'])
@pytest.mark.parametrize('color_type', ['color', 'unchanged', 'color_ignore_orientation'])
@pytest.mark.parametrize('size', [(24, 24), (16, 24)])
def test_maps_fit_what_the_loader_makes_of_a_camera_s_orientation(tmp_path, kind, color_type, size):
    for turn in range(1, 9):
        root = tmp_path / str(turn)
        (root / 'gt').mkdir(parents=True)
        exif = Image.Exif()
        exif[0x0112] = turn
        # A bright block in one corner is one region, the rest is dark.
        pixels = np.full((*size, 3), 30, np.uint8)
        pixels[:8, :8] = 220
        suffix = {'MPO': 'jpg', 'JPEG': 'jpg'}.get(kind, kind.lower())
        options = {'WEBP': {'lossless': True}, 'PNG': {}}.get(kind, {'quality': 95})
        Image.fromarray(pixels).save(root / f'gt/a.{suffix}', kind, exif=exif, **options)
        extract(root / 'gt', root / 'regions', Bright())
        for deferred in (False, True):
            load = {'type': 'LoadRegionMap', 'root': str(root / 'regions'), 'deferred': deferred}
            pipeline = Compose(
                [{'type': 'LoadImageFromFile', 'key': 'gt', 'color_type': color_type}, load]
            )
            loaded = pipeline({'gt_path': str(root / f'gt/a.{suffix}'), 'key': 'a'})
            bright = loaded['gt'][..., 0] > 125
            assert bright.sum() == 64
            height, width = bright.shape
            labels = loaded['regions'][:height, :width, ...]  # as a crop does, which may be all
            assert np.array_equal(labels[..., 0] == 1, bright)


def test_after_a_replay_the_random_numbers_go_on_from_where_they_were():
    def draw():
        return float(np.random.rand()), random.random(), float(torch.rand(()))

    earlier = _random_state()
    first = draw()
    present = _random_state()
    following = draw()
    with _replayed(present), _replayed(earlier):
        assert draw() == first
        draw()  # more than was drawn the first time
    with _replayed(present):
        with _replayed(earlier):
            draw(), draw(), draw()
        assert draw() == following
