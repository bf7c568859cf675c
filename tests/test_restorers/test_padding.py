import numpy as np
import pytest
import torch

from mmsamdistill.restorers.parts import pad_to_multiple


@pytest.mark.parametrize('size', [(8, 16), (9, 15), (5, 24), (16, 11)])
def test_equals_numpys_reflection(size):
    image = torch.rand(2, 3, *size)
    below, right = (-side % 8 for side in size)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode='reflect')
    assert np.array_equal(pad_to_multiple(image, 8).numpy(), expected)


def test_an_image_too_small_to_reflect_repeats_its_border():
    image = torch.rand(1, 3, 2, 1)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, 6), (0, 7)), mode='edge')
    assert np.array_equal(pad_to_multiple(image, 8).numpy(), expected)


def test_gradient_reaches_every_pixel():
    image = torch.rand(1, 1, 5, 6, requires_grad=True)
    pad_to_multiple(image, 8).sum().backward()
    assert (image.grad >= 1).all()
    assert image.grad.sum() == 64
