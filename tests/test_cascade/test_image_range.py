import pytest
import torch
from mmagic.registry import MODELS
from toy import batch

import mmsamdistill  # noqa: F401
from mmsamdistill.cascade.image_range import to_unit_rgb

PREPROCESSORS = {
    'unit': {'mean': [0.0] * 3, 'std': [255.0] * 3},
    'symmetric': {'mean': [127.5] * 3, 'std': [127.5] * 3},
    'coloured': {'mean': [10.0, 20.0, 30.0], 'std': [1.0, 2.0, 3.0]},
    'to_bgr': {'mean': [10.0, 20.0, 30.0], 'std': [1.0, 2.0, 3.0], 'output_channel_order': 'BGR'},
    'to_rgb': {'mean': [10.0, 20.0, 30.0], 'std': [1.0, 2.0, 3.0], 'output_channel_order': 'RGB'},
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


def test_without_normalisation_only_the_scale_changes():
    preprocessor = MODELS.build({'type': 'DataPreprocessor', 'mean': None, 'std': None})
    images = 255 * torch.rand(1, 3, 2, 2)
    assert torch.equal(to_unit_rgb(images, preprocessor), images.flip(1) / 255)
