import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from skimage.metrics import structural_similarity

from mmsamdistill.restorers import SSIMLoss
from mmsamdistill.restorers.losses import local_similarity


def pair(*shape, seed=0):
    torch.manual_seed(seed)
    truth = torch.rand(shape, dtype=torch.float64)
    return (truth + 0.1 * torch.randn_like(truth)).clamp(0, 1), truth


@pytest.mark.parametrize('peak', [1.0, 255.0])
def test_equals_scikit_image_inside_of_the_border(peak):
    a, b = (peak * x for x in pair(2, 3, 24, 31))
    options = {
        'gaussian_weights': True,
        'sigma': 1.5,
        'use_sample_covariance': False,
        'data_range': peak,
        'channel_axis': 0,
        'full': True,
    }
    ours = local_similarity(a, b, peak=peak).numpy()
    for index in range(2):
        _, expected = structural_similarity(a[index].numpy(), b[index].numpy(), **options)
        inside = (slice(None), slice(5, -5), slice(5, -5))
        assert np.allclose(ours[index][inside], expected[inside], atol=1e-9)


def test_border_by_a_slow_loop():
    # Zeros around the image count as pixels.
    a, b = pair(1, 1, 4, 5)
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(taps, taps) / taps.sum() ** 2
    x, y = (np.pad(each[0, 0].numpy(), 5) for each in (a, b))
    ours = local_similarity(a, b)[0, 0]
    for row in range(4):
        for column in range(5):
            p, q = (each[row : row + 11, column : column + 11] for each in (x, y))
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            variances = (window * (p**2 + q**2)).sum() - mean_p**2 - mean_q**2
            covariance = (window * p * q).sum() - mean_p * mean_q
            expected = (2 * mean_p * mean_q + 1e-4) * (2 * covariance + 9e-4)
            expected /= (mean_p**2 + mean_q**2 + 1e-4) * (variances + 9e-4)
            assert ours[row, column].item() == pytest.approx(expected, abs=1e-9)


def test_loss_is_the_weighted_negative_mean():
    a, b = pair(2, 3, 12, 13)
    mean = local_similarity(a, b).mean()
    assert torch.allclose(SSIMLoss()(a, b), -mean)
    assert torch.allclose(SSIMLoss(loss_weight=0.5)(a, b), -0.5 * mean)
    for other in ({'size': 7}, {'peak': 2.0}):
        assert not torch.allclose(SSIMLoss(**other)(a, b), -mean)
    assert SSIMLoss()(b, b).item() == pytest.approx(-1)
    assert not SSIMLoss().state_dict()


def test_gradient():
    a, b = pair(1, 2, 5, 6)
    assert torch.autograd.gradcheck(lambda x: SSIMLoss()(x, b), a.requires_grad_())


@pytest.mark.parametrize('value', [0.0, 1.0])
def test_flat_and_identical_images_have_finite_gradients(value):
    image = torch.full((1, 3, 8, 8), value, requires_grad=True)
    loss = SSIMLoss()(image, torch.full((1, 3, 8, 8), value))
    loss.backward()
    assert loss.item() == pytest.approx(-1, abs=1e-4)
    assert image.grad.abs().max() < 1e-3


def test_mixed_precision_keeps_single_precision():
    a, b = (x.float() for x in pair(1, 3, 16, 16))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(SSIMLoss()(a, b), SSIMLoss()(a, b).float())
        mixed = SSIMLoss()(a.bfloat16(), b)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(SSIMLoss()(a.bfloat16().float(), b).item(), abs=1e-6)


def test_wrong_options_are_named():
    assert MODELS.get('SSIMLoss') is SSIMLoss
    for wrong in ({'size': 10}, {'size': 1}, {'peak': 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SSIMLoss(**wrong)
