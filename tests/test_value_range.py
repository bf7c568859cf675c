import pytest
import torch
from mmagic.registry import MODELS

import mmsamdistill  # noqa: F401
from mmsamdistill.value_range import value_range


def preprocessor(**options):
    return MODELS.build({'type': 'mmagic.DataPreprocessor', **options})


@pytest.mark.parametrize(
    ('mean', 'std', 'white'),
    [
        ([0.0] * 3, [255.0] * 3, 255),
        ([127.5] * 3, [127.5] * 3, 255),
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 255),
        ([114.4, 111.5, 103.0], [255.0] * 3, 255),  # EDSR's
        ([30.0, 110.0, 125.0], [40.0, 60.0, 65.0], 255),  # of a colour cast
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 1),
        ([0.5] * 3, [0.5] * 3, 1),
        ([0.0] * 3, [1023.0] * 3, 1023),
        ([0.0] * 3, [65535.0] * 3, 65535),
        ([32767.5] * 3, [32767.5] * 3, 65535),
        ([0.0], [255.0], 255),
    ],
)
def test_white_is_told_from_mean_and_std(mean, std, white):
    assert value_range(preprocessor(mean=mean, std=std)) == white


@pytest.mark.parametrize(
    'options',
    [
        {'mean': [0.0] * 3, 'std': [1.0] * 3},
        {'mean': None, 'std': None},
        {'mean': [0.0] * 3, 'std': [100.0] * 3},
        {'mean': [0.0] * 3, 'std': [1e6] * 3},
    ],
)
def test_what_cannot_be_told_is_refused_until_it_is_said(options):
    silent = preprocessor(**options)
    with pytest.raises(ValueError, match=r'value_range=255'):
        value_range(silent)
    silent.value_range = 255
    assert value_range(silent) == 255


def test_it_is_read_without_gradient_and_on_any_dtype():
    half = preprocessor(mean=[0.0] * 3, std=[255.0] * 3).to(torch.float16)
    assert value_range(half) == 255
