import itertools
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmsamdistill.evaluation.colour import luma, luma_8bit, to_8bit


def random_image(channels=3, size=(23, 31), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(channels, *size, generator=generator) * 300 - 20


def pixels(*colours):
    return torch.tensor(colours, dtype=torch.float64).T.reshape(3, 1, -1)


def test_rounding_is_that_of_an_image_written_by_opencv(tmp_path):
    image = random_image()
    cv2.imwrite(str(tmp_path / 'a.png'), image.numpy().transpose(1, 2, 0))
    read = cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED).transpose(2, 0, 1)
    assert np.array_equal(to_8bit(image).numpy(), read)


def test_rounding_is_that_of_an_image_written_by_pillow_and_scikit_image(tmp_path):
    from skimage import img_as_ubyte

    image = random_image().clamp(0, 255)
    array = img_as_ubyte((image.double() / 255).numpy().transpose(1, 2, 0))
    Image.fromarray(array).save(tmp_path / 'a.png')
    read = np.asarray(Image.open(tmp_path / 'a.png')).transpose(2, 0, 1)
    assert np.array_equal(to_8bit(image).numpy(), read)


def test_halves_are_rounded_to_even_as_opencv_and_numpy_do(tmp_path):
    halves = np.arange(-1, 256, dtype=np.float64)[None] + 0.5
    cv2.imwrite(str(tmp_path / 'a.png'), halves)
    read = cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(to_8bit(torch.from_numpy(halves)).numpy(), read)
    assert np.array_equal(read, halves.round().clip(0, 255))


def test_rounding_leaves_nan_and_its_argument_alone():
    image = torch.tensor([float('nan'), 1.6])
    assert to_8bit(image).isnan().tolist() == [True, False]
    assert image[1] == torch.tensor(1.6)


@pytest.mark.parametrize(
    ('colour', 'expected'),
    [
        # MATLAB's rgb2ycbcr of uint8: the corners of the cube, and Y = 143.91..., 89.96...
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 0, 0), 81),
        ((0, 255, 0), 145),
        ((0, 0, 255), 41),
        ((255, 255, 0), 210),
        ((200, 150, 10), 144),
        ((12, 130, 55), 90),
    ],
)
def test_luma_8bit_by_hand(colour, expected):
    assert luma_8bit(pixels(colour)).item() == expected


def test_luma_8bit_is_exact_with_halves_upwards():
    def exact(red, green, blue):
        value = Fraction(65481 * red + 128553 * green + 24966 * blue, 255000) + 16
        return (value + Fraction(1, 2)).__floor__()

    colours = list(itertools.product(range(0, 256, 15), range(0, 256, 5), range(0, 256, 3)))
    ties = [c for c in colours if (65481 * c[0] + 128553 * c[1] + 24966 * c[2]) % 255000 == 127500]
    assert ties
    result = luma_8bit(pixels(*colours)).flatten().long().tolist()
    assert result == [exact(*colour) for colour in colours]


def test_luma_8bit_takes_what_is_saved_and_differs_from_luma():
    image = random_image()
    assert torch.equal(luma_8bit(image), luma_8bit(to_8bit(image)))
    rounded = luma_8bit(image)
    assert torch.equal(rounded, rounded.round())
    assert 0.1 < (rounded - luma(to_8bit(image))).abs().max() <= 0.5


def test_luma_equals_mmcv():
    import mmcv

    image = random_image().clamp(0, 255)
    bgr = image.flip(0).numpy().transpose(1, 2, 0)
    reference = mmcv.bgr2ycbcr(bgr.astype(np.float32) / 255, y_only=True) * 255
    assert np.abs(luma(image)[0].numpy() - reference).max() < 1e-4


def test_luma_equals_scikit_image():
    from skimage.color import rgb2ycbcr

    image = random_image().clamp(0, 255).double()
    reference = rgb2ycbcr((image / 255).numpy().transpose(1, 2, 0))[..., 0]
    assert np.allclose(luma(image)[0].numpy(), reference, atol=1e-9)


def test_batches_and_grey_images():
    images = torch.stack([random_image(seed=seed) for seed in range(3)])
    for function in (luma, luma_8bit):
        together = function(images)
        assert together.shape == (3, 1, 23, 31)
        assert torch.equal(together, torch.stack([function(image) for image in images]))
    grey = images[:, :1]
    assert torch.equal(luma(grey), grey.double())
    assert torch.equal(luma_8bit(grey), to_8bit(grey))


@pytest.mark.parametrize('function', [luma, luma_8bit])
@pytest.mark.parametrize('shape', [(4, 8, 8), (8, 8), (8, 8, 3)])
def test_other_channels_are_refused(function, shape):
    with pytest.raises(ValueError, match='an image must be'):
        function(torch.zeros(shape))


def test_nan_stays_visible_in_luma():
    image = random_image()
    image[1, 2, 3] = float('nan')
    for function in (luma, luma_8bit):
        assert function(image).isnan().sum() == 1
