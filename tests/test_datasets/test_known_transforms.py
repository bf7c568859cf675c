"""The list of transforms, entry by entry: what stays moves nothing, nothing that moves stays."""

import mmagic.datasets.transforms  # noqa: F401
import numpy as np
import pytest
from mmagic.registry import TRANSFORMS

from mmsamdistill.datasets import add_regions_to_pipeline

LOAD = [{'type': 'LoadImageFromFile', 'key': key} for key in ('img', 'gt')]
PACK = {'type': 'PackInputs'}
KEYS = {'keys': ['img', 'gt']}
# What region maps are left out of, and arguments that make its effect seen.
STAY = {
    'AddGaussianNoise': {'sigma': 10},
    'AddRain': {'brightness': 20.0},
    'Clip': KEYS,
    'ColorJitter': {**KEYS, 'brightness': 0.2},
    'CopyValues': {'src_keys': ['gt'], 'dst_keys': ['img']},
    'MotionBlur': {},
    'Normalize': {**KEYS, 'mean': [1.0] * 3, 'std': [2.0] * 3},
    'RandomBlur': {
        'keys': ['img'],
        'params': {
            'kernel_size': [5],
            'kernel_list': ['iso'],
            'kernel_prob': [1],
            'sigma_x': [1, 1],
            'sigma_y': [1, 1],
            'rotate_angle': [0, 0],
            'omega': None,
        },
    },
    'RandomJPEGCompression': {'keys': ['img'], 'params': {'quality': [80, 90]}},
    'RandomNoise': {
        'keys': ['img'],
        'params': {
            'noise_type': ['gaussian'],
            'noise_prob': [1],
            'gaussian_sigma': [5, 5],
            'gaussian_gray_noise_prob': 0,
        },
    },
    'RegionMix': {'probability': 1.0, 'per': 'image'},
    'RescaleToZeroOne': KEYS,
    'SetValues': {'dictionary': {'scale': 1}},
    'UnsharpMasking': {
        **KEYS,
        'kernel_size': 5,
        'sigma': 1,
        'weight': 0.5,
        'threshold': 10,
    },
}
INTERPOLATE = [
    *('MATLABLikeResize', 'RandomAffine', 'RandomDownSampling', 'RandomResize'),
    *('RandomResizedCrop', 'RandomRotation', 'Resize'),
]


def square():
    """A bright square that is not in the middle."""
    image = np.full((48, 48, 3), 40, np.uint8)
    image[6:18, 24:36] = 200
    return image


def centre(image):
    """Centre of what is bright, in pixels."""
    grey = np.asarray(image, np.float64).mean(-1)
    low, high = np.percentile(grey, 20), np.percentile(grey, 98)
    return np.argwhere(grey > (low + high) / 2).mean(0)


@pytest.mark.parametrize('name', STAY)
def test_what_stays_moves_nothing(name):
    step = {'type': name, **STAY[name]}
    assert step in add_regions_to_pipeline([*LOAD, step, PACK], 'r')
    np.random.seed(0)
    results = TRANSFORMS.build(step)({'img': square(), 'gt': square(), 'gt_path': 'a.png'})
    for key in ('img', 'gt'):
        assert results[key].shape == (48, 48, 3)
        np.testing.assert_allclose(centre(results[key]), centre(square()), atol=1.5)


@pytest.mark.parametrize('name', INTERPOLATE)
def test_what_interpolates_is_refused(name):
    with pytest.raises(ValueError, match=f'{name} interpolates'):
        add_regions_to_pipeline([*LOAD, {'type': name, **KEYS}, PACK], 'r')


def test_nothing_else_stays():
    stay = set()
    for name in list(TRANSFORMS.module_dict):
        step = {'type': name}
        try:
            pipeline = add_regions_to_pipeline([*LOAD, step, PACK], 'r')
        except (KeyError, ValueError):
            continue  # refused, or it lacks an argument that would be rewritten
        if pipeline.count(step) and not name.startswith(('Load', 'Pack')):
            stay.add(name)
    # The last leaves no truth whose pixels could have moved.
    assert stay == {*STAY, 'WithoutTruth'}
