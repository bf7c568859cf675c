import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from scipy.ndimage import convolve1d

from mmsamdistill.restorers import EdgeLoss
from mmsamdistill.restorers.losses import laplacian


def pair(*shape):
    torch.manual_seed(0)
    truth = torch.rand(shape, dtype=torch.float64)
    return truth + 0.1 * torch.randn_like(truth), truth


def blurred(plane):
    taps = [0.05, 0.25, 0.4, 0.25, 0.05]
    return convolve1d(convolve1d(plane, taps, axis=0, mode='nearest'), taps, axis=1, mode='nearest')


def reference(plane):
    low = blurred(plane)
    kept = np.zeros_like(low)
    kept[::2, ::2] = 4 * low[::2, ::2]
    return plane - blurred(kept)


@pytest.mark.parametrize('size', [(8, 12), (9, 13), (1, 5)])
def test_laplacian_equals_scipys_filters(size):
    image, _ = pair(2, 3, *size)
    for ours, plane in zip(laplacian(image).flatten(0, 1), image.flatten(0, 1), strict=True):
        assert np.allclose(ours.numpy(), reference(plane.numpy()), atol=1e-12)


def test_flat_images_have_no_detail_away_from_the_border():
    assert laplacian(torch.ones(1, 1, 16, 16))[..., 4:12, 4:12].abs().max() < 1e-6


def test_value_is_that_of_both_images_apart():
    a, b = pair(2, 3, 10, 11)
    difference = laplacian(a) - laplacian(b)
    expected = (difference.square() + 1e-6).sqrt().mean()
    assert torch.allclose(EdgeLoss()(a, b), expected)
    assert torch.allclose(EdgeLoss(loss_weight=0.05)(a, b), 0.05 * expected)
    assert not torch.allclose(EdgeLoss(eps=0.1)(a, b), expected)
    assert EdgeLoss()(b, b).item() == pytest.approx(1e-3)
    assert not EdgeLoss().state_dict()


def test_gradient():
    a, b = pair(1, 2, 5, 6)
    assert torch.autograd.gradcheck(lambda x: EdgeLoss()(x, b), a.requires_grad_())
    image = torch.zeros(1, 3, 8, 8, requires_grad=True)
    EdgeLoss()(image, torch.zeros(1, 3, 8, 8)).backward()
    assert image.grad.isfinite().all()


def test_mixed_precision_keeps_single_precision():
    a, b = (x.float() for x in pair(1, 3, 8, 8))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = EdgeLoss()(a, b)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, EdgeLoss()(a, b))


def test_wrong_options_are_named():
    assert MODELS.get('EdgeLoss') is EdgeLoss
    with pytest.raises(ValueError, match='eps'):
        EdgeLoss(eps=0.0)
