import pytest
import torch
from mmagic.registry import MODELS
from toy import batch

import mmsamdistill  # noqa: F401
from mmsamdistill.cascade.image_range import span_of, to_unit_rgb

COLOURED = {'mean': [110.0, 120.0, 130.0], 'std': [51.0, 52.0, 53.0]}
PREPROCESSORS = {
    'unit': {'mean': [0.0] * 3, 'std': [255.0] * 3},
    'symmetric': {'mean': [127.5] * 3, 'std': [127.5] * 3},
    'coloured': COLOURED,
    'to_bgr': {
        'mean': [110.0, 120.0, 130.0],
        'std': [51.0, 52.0, 53.0],
        'output_channel_order': 'BGR',
    },
    'to_rgb': {
        'mean': [110.0, 120.0, 130.0],
        'std': [51.0, 52.0, 53.0],
        'output_channel_order': 'RGB',
    },
}


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('name', PREPROCESSORS)
def test_inverts_the_preprocessor_of_any_range_and_order(name, order):
    preprocessor = MODELS.build({'type': 'DataPreprocessor', **PREPROCESSORS[name]})
    raw = batch()
    for sample in raw['data_samples']:
        sample.set_metainfo({'img_channel_order': order, 'gt_channel_order': order})
    original = torch.stack(raw['inputs'])
    rgb = original / 255 if order == 'rgb' else original.flip(1) / 255
    data = preprocessor(raw, True)
    seen = to_unit_rgb(data['inputs'], preprocessor, data['data_samples'])
    assert torch.allclose(seen, rgb, atol=1e-5)


def test_differentiable_beyond_the_range():
    preprocessor = MODELS.build({'type': 'DataPreprocessor', **PREPROCESSORS['unit']})
    images = torch.tensor([-1.0, 2.0, 0.5]).view(1, 3, 1, 1).requires_grad_()
    to_unit_rgb(images, preprocessor).sum().backward()
    assert torch.allclose(images.grad, torch.ones_like(images))


def test_grey_becomes_three_equal_channels():
    preprocessor = MODELS.build({'type': 'DataPreprocessor', 'mean': [0.0], 'std': [255.0]})
    grey = torch.rand(2, 1, 4, 4)
    assert torch.equal(to_unit_rgb(grey, preprocessor), (grey * 255 / 255).expand(-1, 3, -1, -1))


def test_other_shapes_are_named():
    preprocessor = MODELS.build({'type': 'DataPreprocessor'})
    with pytest.raises(ValueError, match=r'\(1, 4, 2, 2\)'):
        to_unit_rgb(torch.zeros(1, 4, 2, 2), preprocessor)


@pytest.mark.parametrize('white', [1.0, 255.0, 65535.0])
def test_white_is_one_whatever_the_bit_depth(white):
    preprocessor = MODELS.build(
        {'type': 'DataPreprocessor', 'mean': [0.5 * white], 'std': [0.5 * white]}
    )
    images = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)
    assert to_unit_rgb(images, preprocessor)[:, 0].flatten().tolist() == [0.0, 0.5, 1.0]
    assert span_of(preprocessor) == 2


def test_without_normalisation_white_has_to_be_said():
    preprocessor = MODELS.build({'type': 'DataPreprocessor', 'mean': None, 'std': None})
    images = 255 * torch.rand(1, 3, 2, 2)
    with pytest.raises(ValueError, match='value_range=255'):
        to_unit_rgb(images, preprocessor)
    preprocessor.value_range = 255
    assert torch.equal(to_unit_rgb(images, preprocessor), images.flip(1) / 255)
    assert span_of(preprocessor) == 255
