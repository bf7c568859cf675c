"""Noise, rain and blur: statistics, ranges, reproducibility."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmagic.registry import TRANSFORMS

from mmsamdistill.datasets import AddGaussianNoise, AddRain, MotionBlur
from mmsamdistill.datasets.transforms.degradations import (
    check_range,
    quantise,
    seeded_generator,
)
from mmsamdistill.datasets.transforms.motion_blur import linear_kernel, trajectory_kernel
from mmsamdistill.datasets.transforms.rain import streaks

ALL = [AddGaussianNoise, AddRain, MotionBlur]


def picture(size=(48, 40), channels=3, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (*size, channels), dtype=np.uint8)


def sample(key='a/0001', **changes):
    return {'img': picture(), 'gt': picture(), 'key': key, **changes}


@pytest.mark.parametrize('kind', ALL)
def test_registered_and_built_by_name(kind):
    assert type(TRANSFORMS.build({'type': kind.__name__, 'seed': 1})) is kind


@pytest.mark.parametrize('kind', ALL)
def test_seed_and_name_decide_alone(kind):
    first = kind(seed=3)(sample())['img']
    np.random.seed(99)
    transform = kind(seed=3)
    transform(sample('other'))  # neither the global state nor the order matters
    assert np.array_equal(transform(sample())['img'], first)
    assert not np.array_equal(transform(sample('a/0002'))['img'], first)
    assert not np.array_equal(kind(seed=4)(sample())['img'], first)


@pytest.mark.parametrize('kind', ALL)
def test_without_a_seed_numpys_state_decides(kind):
    transform = kind()
    np.random.seed(5)
    first, second = transform(sample())['img'], transform(sample())['img']
    np.random.seed(5)
    assert np.array_equal(transform(sample())['img'], first)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize('kind', ALL)
def test_seeded_transforms_leave_the_global_state_alone(kind):
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    kind(seed=0)(sample())
    assert np.random.random() == expected


def test_name_is_key_or_stem_never_the_folder():
    transform = AddGaussianNoise(seed=0)
    image = {'img': picture()}
    by_path = [transform({**image, 'gt_path': f'/{root}/x.png'})['img'] for root in ('a', 'b')]
    assert np.array_equal(*by_path)
    assert np.array_equal(transform({**image, 'key': 'x'})['img'], by_path[0])
    with pytest.raises(KeyError, match='needs the name'):
        transform(image)


def test_transforms_with_the_same_seed_do_not_share_numbers():
    one = seeded_generator(0, 'AddRain', 'a').random()
    assert one != seeded_generator(0, 'MotionBlur', 'a').random()
    assert one == seeded_generator(0, 'AddRain', 'a').random()


@pytest.mark.parametrize('kind', ALL)
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_quantised_images_are_what_a_file_holds(kind, dtype):
    result = kind(seed=0)(sample(img=picture().astype(dtype)))['img']
    assert result.dtype == dtype
    assert result.shape == picture().shape
    assert np.array_equal(result, np.rint(result).clip(0, 255))


@pytest.mark.parametrize('kind', ALL)
def test_unquantised_images_are_float_and_agree_after_rounding(kind):
    exact = kind(seed=0, quantise=False)(sample())['img']
    assert exact.dtype == np.float32
    assert not np.array_equal(exact, np.rint(exact))
    assert np.array_equal(quantise(exact), kind(seed=0)(sample())['img'])


@pytest.mark.parametrize('kind', ALL)
def test_only_the_named_image_changes_and_nothing_in_place(kind):
    given_ = sample()
    before = {name: np.copy(value) for name, value in given_.items()}
    result = kind(seed=0)(given_)
    assert not np.array_equal(result['img'], before['img'])
    assert all(np.array_equal(given_[name], before[name]) for name in before)
    assert result['gt'] is given_['gt']
    other = kind(key='gt', seed=0)(given_)
    assert other['img'] is given_['img']
    assert not np.array_equal(other['gt'], before['gt'])


@pytest.mark.parametrize('kind', ALL)
@pytest.mark.parametrize('shape', [(9, 7), (9, 7, 1), (1, 1, 3)])
def test_any_number_of_channels_and_any_size(kind, shape):
    result = kind(seed=0, quantise=False)(sample(img=np.full(shape, 100.0)))['img']
    assert result.shape == shape
    assert np.isfinite(result).all()


@pytest.mark.parametrize('kind', ALL)
def test_errors_say_what_to_do(kind):
    with pytest.raises(KeyError, match='CopyValues'):
        kind()({'gt': picture()})
    with pytest.raises(TypeError, match='list'):
        kind()({'img': [picture()]})
    assert 'seed=3' in repr(kind(seed=3))


@pytest.mark.parametrize('sigma', [0.0, 15.0, 50.0])
def test_noise_has_its_mean_and_deviation(sigma):
    image = np.full((300, 300, 3), 128.0)
    noise = AddGaussianNoise(sigma, seed=0, quantise=False)(sample(img=image))['img'] - image
    assert abs(noise.mean()) < 4 * sigma / 519 + 1e-6
    assert noise.std() == pytest.approx(sigma, rel=0.01)
    if sigma:
        # Independent of its neighbours and of the other channels.
        shifted = [noise[1:, :, 0], noise[:-1, :, 0], noise[1:, :, 1]]
        assert abs(np.corrcoef([each.ravel() for each in shifted]) - np.eye(3)).max() < 0.02


def test_noise_range_is_drawn_for_each_image():
    transform = AddGaussianNoise((0, 50), seed=0, quantise=False)
    flat = np.full((60, 60, 3), 128.0)
    found = [(transform(sample(str(i), img=flat))['img'] - flat).std() for i in range(60)]
    assert 0 <= min(found) < 8
    assert 42 < max(found) <= 52


def test_clip_limits_without_rounding():
    image = np.zeros((30, 30, 3), np.uint8)
    wide = AddGaussianNoise(50, seed=0, quantise=False)(sample(img=image))['img']
    clipped = AddGaussianNoise(50, seed=0, quantise=False, clip=True)(sample(img=image))['img']
    assert wide.min() < 0
    assert np.array_equal(clipped, wide.clip(0, 255))


def test_rain_only_brightens_and_grows_with_density_and_brightness():
    image = np.full((96, 96, 3), 40, np.uint8)

    def rained(**changes):
        settings_ = {'density': 0.002, 'brightness': 80, 'layers': 1, 'seed': 0, 'quantise': False}
        return AddRain(**{**settings_, **changes})(sample(img=image))['img']

    base = rained()
    assert (base >= image).all()
    assert base.max() > 60
    assert (rained(density=0.01) >= base).all()
    assert rained(density=0.01).mean() > base.mean()
    assert (rained(brightness=160) >= base).all()
    assert rained(brightness=160).max() > base.max()
    assert rained(density=0).max() == 40
    assert (base[..., 0] == base[..., 2]).all()  # rain is white


@pytest.mark.parametrize(
    'change', [{'length': 8}, {'angle': 45}, {'width': 4}, {'layers': 4}, {'brightness': 90}]
)
def test_every_argument_of_rain_matters(change):
    fixed = {'length': 20, 'angle': 0, 'width': 1, 'layers': 1, 'brightness': 60, 'seed': 0}
    base, other = AddRain(**fixed)(sample()), AddRain(**{**fixed, **change})(sample())
    assert not np.array_equal(base['img'], other['img'])


def test_streaks_have_the_length_and_slant_asked_for():
    layer = streaks((400, 400), 2e-5, 41, 0, 1, np.random.default_rng(3)) > 0.1
    columns = layer.sum(0)
    assert layer.any()
    assert np.median(columns[columns > 0]) in (40, 41, 42)
    slanted = streaks((400, 400), 2e-5, 41, 30, 1, np.random.default_rng(3))
    rows, cols = np.nonzero(slanted > 0.3)
    # Within one streak the column grows by tan(30 degrees) for each row down.
    first = np.argmin(rows)
    near = (np.abs(cols - cols[first]) < 30) & (rows - rows[first] < 40)
    slope = np.polyfit(rows[near], cols[near], 1)[0]
    assert slope == pytest.approx(np.tan(np.deg2rad(30)), abs=0.1)


def test_wider_streaks_cover_more_and_stay_as_bright():
    thin, wide = (
        streaks((200, 200), 1e-4, 30, 0, width, np.random.default_rng(0)) for width in (1.01, 5)
    )
    assert (wide > 0.1).sum() > 2 * (thin > 0.1).sum()
    assert wide.max() == pytest.approx(thin.max(), rel=0.1)


def test_a_streak_is_as_wide_as_asked_for_where_it_is_half_as_bright():
    for width in (5, 9):
        layer = streaks((200, 200), 2e-5, 60, 0, width, np.random.default_rng(5))
        row, column = np.unravel_index(layer.argmax(), layer.shape)
        across = layer[row, max(0, column - 15) : column + 16]
        assert (across > layer.max() / 2).sum() == pytest.approx(width, abs=1)


@settings(deadline=None, max_examples=40)
@given(
    length=st.floats(1, 60),
    angle=st.floats(-360, 360),
    wander=st.floats(0, 360),
    seed=st.integers(0, 99),
)
def test_kernels_sum_to_one_and_are_centred(length, angle, wander, seed):
    generator = np.random.default_rng(seed)
    for kernel in (
        linear_kernel(length, angle),
        trajectory_kernel(length, angle, wander, generator),
    ):
        side = kernel.shape[0]
        assert kernel.shape == (side, side)
        assert side % 2 == 1
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        middle = np.arange(side) - side // 2
        assert abs((kernel.sum(0) * middle).sum()) < 0.3
        assert abs((kernel.sum(1) * middle).sum()) < 0.3
        assert side <= length + 3


@pytest.mark.parametrize(('angle', 'dx', 'dy'), [(0, 1, 0), (90, 0, 1), (45, 1, -1), (135, 1, 1)])
def test_linear_kernel_points_where_it_should(angle, dx, dy):
    kernel = linear_kernel(21, angle)
    rows, cols = np.nonzero(kernel)
    middle = kernel.shape[0] // 2
    # Rows go down, angles counter-clockwise.
    distance = (rows - middle) * dx - (cols - middle) * dy
    assert np.abs(distance).max() <= 1
    extent = np.hypot(np.ptp(rows), np.ptp(cols))
    assert extent == pytest.approx(20, abs=1.5)


def test_linear_kernel_by_hand():
    assert np.allclose(linear_kernel(3, 0), [[0, 0, 0], [1 / 3] * 3, [0, 0, 0]])
    assert np.allclose(linear_kernel(4, 0)[2], [0.125, 0.25, 0.25, 0.25, 0.125])
    assert linear_kernel(1, 30).tolist() == [[1]]


def test_blur_is_a_convolution():
    image = np.zeros((31, 31, 1), np.uint8)
    image[15, 15] = 255
    transform = MotionBlur('trajectory', 12, 20, seed=0, quantise=False)
    found = transform(sample(img=image))['img'][..., 0] / 255
    generator = seeded_generator(0, 'MotionBlur', 'a/0001')
    generator.uniform(size=2)
    kernel = trajectory_kernel(12, 20, 90, generator)
    radius = kernel.shape[0] // 2
    inside = slice(15 - radius, 16 + radius)
    assert np.allclose(found[inside, inside], kernel, atol=1e-5)
    assert found.sum() == pytest.approx(1, abs=1e-4)


def test_blur_keeps_constants_and_length_one_keeps_all():
    flat = np.full((20, 20, 3), 77, np.uint8)
    assert np.array_equal(MotionBlur(seed=0)(sample(img=flat))['img'], flat)
    assert np.array_equal(MotionBlur(length=1, seed=0)(sample())['img'], picture())


@pytest.mark.parametrize(
    'change', [{'kind': 'linear'}, {'length': 25}, {'angle': 80}, {'wander': 10}]
)
def test_every_argument_of_blur_matters(change):
    fixed = {'kind': 'trajectory', 'length': 15, 'angle': 0, 'wander': 120, 'seed': 0}
    base, other = MotionBlur(**fixed)(sample()), MotionBlur(**{**fixed, **change})(sample())
    assert not np.array_equal(base['img'], other['img'])


@pytest.mark.parametrize(
    ('kind', 'arguments', 'message'),
    [
        (AddGaussianNoise, {'sigma': -1}, 'sigma'),
        (AddGaussianNoise, {'sigma': (5, 2)}, 'sigma'),
        (AddGaussianNoise, {'sigma': (1, 2, 3)}, 'sigma'),
        (AddGaussianNoise, {'sigma': float('nan')}, 'sigma'),
        (AddRain, {'density': 2}, 'density'),
        (AddRain, {'length': 0}, 'length'),
        (AddRain, {'angle': 100}, 'angle'),
        (AddRain, {'width': 0.5}, 'width'),
        (AddRain, {'brightness': 300}, 'brightness'),
        (AddRain, {'layers': 0}, 'layers'),
        (MotionBlur, {'kind': 'zoom'}, "kind='zoom' is not one of"),
        (MotionBlur, {'length': 0.5}, 'length'),
        (MotionBlur, {'angle': 1000}, 'angle'),
        (MotionBlur, {'wander': -1}, 'wander'),
    ],
)
def test_impossible_settings_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_range_may_come_as_a_list_from_a_config():
    assert check_range('x', [1, 2]) == check_range('x', (1, 2)) == (1.0, 2.0)
