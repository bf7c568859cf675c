"""Small images are mirrored up to the patch, their region maps with them."""

import cv2
import numpy as np
import pytest

from mmsamdistill.datasets import PadToPatch, add_regions_to_pipeline


@pytest.mark.parametrize(
    ('mode', 'border'), [('symmetric', cv2.BORDER_REFLECT), ('reflect', cv2.BORDER_REFLECT_101)]
)
@pytest.mark.parametrize('shape', [(5, 9, 3), (9, 5, 3), (4, 4, 3)])
def test_borders_are_those_of_opencv(shape, mode, border):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    down, right = max(0, 7 - shape[0]), max(0, 7 - shape[1])
    expected = cv2.copyMakeBorder(image, 0, down, 0, right, border)
    results = PadToPatch(['img', 'gt'], 7, mode)({'img': image, 'gt': image.copy()})
    for key in ('img', 'gt'):
        assert np.array_equal(results[key], expected)


def test_images_that_are_large_enough_stay_as_they_are():
    image = np.zeros((7, 8, 3))
    assert PadToPatch('img', 7)({'img': image})['img'] is image


def test_region_maps_are_padded_with_their_images():
    steps = [
        {'type': 'LoadImageFromFile', 'key': 'gt'},
        {'type': 'PadToPatch', 'keys': ['gt'], 'size': 4},
        {'type': 'PackInputs'},
    ]
    (pad,) = (s for s in add_regions_to_pipeline(steps, 'cache') if s['type'] == 'PadToPatch')
    assert pad['keys'] == ['gt', 'regions']
    labels = np.arange(6, dtype=np.int32).reshape(2, 3, 1)
    image = np.repeat(labels, 3, 2).astype(np.uint8)
    padded = PadToPatch(pad['keys'], pad['size'])({'gt': image, 'regions': labels})
    assert padded['regions'].dtype == np.int32
    assert np.array_equal(padded['regions'][..., 0], padded['gt'][..., 0])


def test_mistakes_are_named():
    with pytest.raises(KeyError, match='gt'):
        PadToPatch(['gt'], 4)({'img': np.zeros((2, 2, 3))})
    with pytest.raises(ValueError, match='constant'):
        PadToPatch(['gt'], 4, 'constant')
    with pytest.raises(ValueError, match='size'):
        PadToPatch(['gt'], 0)
