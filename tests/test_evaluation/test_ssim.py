import dataclasses
import math

import numpy as np
import pytest
import torch

from mmsamdistill.evaluation import ssim as module
from mmsamdistill.evaluation.ssim import MATLAB, SKIMAGE, WANG, SSIMVariant, ssim


def pair(shape=(3, 31, 43), seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(shape, generator=generator) * 255
    # Smooth structure with noise on it, so that SSIM lies in the middle of its range.
    truth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2) * 1.5
    truth = truth.clamp(0, 255)
    return (truth + 15 * torch.randn(shape, generator=generator)).clamp(0, 255), truth


def windows(size, sigma=1.5):
    axis = np.arange(size) - size // 2
    gaussian = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * sigma**2))
    return gaussian / gaussian.sum()


def loop_ssim(a, b, weights, peak=255.0, correction=1.0):
    """SSIM of two grey images, pixel after pixel as the paper writes it."""
    size = len(weights)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    values = []
    for y in range(a.shape[0] - size + 1):
        for x in range(a.shape[1] - size + 1):
            p, q = a[y : y + size, x : x + size], b[y : y + size, x : x + size]
            mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
            var_p = (weights * (p - mean_p) ** 2).sum() * correction
            var_q = (weights * (q - mean_q) ** 2).sum() * correction
            cov = (weights * (p - mean_p) * (q - mean_q)).sum() * correction
            values.append(
                (2 * mean_p * mean_q + c1)
                * (2 * cov + c2)
                / ((mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2))
            )
    return np.mean(values)


def scipy_volume_ssim(a, b, peak=255.0):
    """MATLAB's ssim of an array of any dimensions: replicated borders, mean over all of it."""
    from scipy.ndimage import gaussian_filter

    def blur(x):
        return gaussian_filter(x, 1.5, mode='nearest', radius=5)

    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return (numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()


def arrays(*images):
    return [image.double().numpy() for image in images]


def test_equals_a_loop():
    a, b = pair((1, 14, 17))
    first, second = (image[0] for image in arrays(a, b))
    assert ssim(a, b).item() == pytest.approx(loop_ssim(first, second, windows(11)), abs=1e-12)
    small = SSIMVariant(size=5, sigma=0.8)
    expected = loop_ssim(first, second, windows(5, 0.8))
    assert ssim(a, b, small).item() == pytest.approx(expected, abs=1e-12)
    uniform = np.full((7, 7), 1 / 49)
    expected = loop_ssim(first, second, uniform, correction=49 / 48)
    assert ssim(a, b, SKIMAGE).item() == pytest.approx(expected, abs=1e-12)


def test_wang_equals_scikit_image_torchmetrics_and_mmagic():
    from mmagic.evaluation.metrics.ssim import ssim as of_mmagic
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = pair()
    value = ssim(a, b, WANG).item()
    assert 0.3 < value < 0.95
    first, second = arrays(a, b)
    options = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False}
    reference = structural_similarity(first, second, channel_axis=0, data_range=255, **options)
    assert value == pytest.approx(reference, abs=1e-12)
    _, full = structural_similarity_index_measure(
        a[None].double(), b[None].double(), sigma=1.5, data_range=255.0, return_full_image=True
    )
    # torchmetrics averages over a reflected border as well.
    assert value == pytest.approx(full[..., 5:-5, 5:-5].mean().item(), abs=1e-7)
    assert value == pytest.approx(of_mmagic(a, b, input_order='CHW'), abs=1e-6)


def test_skimage_equals_its_defaults():
    from skimage.metrics import structural_similarity

    a, b = pair()
    reference = structural_similarity(*arrays(a, b), channel_axis=0, data_range=255)
    assert ssim(a, b, SKIMAGE).item() == pytest.approx(reference, abs=1e-12)


def test_matlab_takes_a_colour_image_for_a_volume():
    a, b = pair()
    assert ssim(a, b, MATLAB).item() == pytest.approx(scipy_volume_ssim(*arrays(a, b)), abs=1e-12)


def test_matlab_of_a_grey_image():
    a, b = (image[:1] for image in pair())
    expected = scipy_volume_ssim(*(image[0] for image in arrays(a, b)))
    assert ssim(a, b, MATLAB).item() == pytest.approx(expected, abs=1e-12)
    flat = dataclasses.replace(MATLAB, volumetric=False)
    assert ssim(a, b, MATLAB).item() == pytest.approx(ssim(a, b, flat).item(), abs=1e-14)


@pytest.mark.parametrize(
    'change',
    [
        {'window': 'uniform'},
        {'size': 9},
        {'sigma': 1.4},
        {'padding': 'replicate'},
        {'volumetric': True},
        {'unbiased': True},
    ],
    ids=str,
)
def test_every_setting_of_a_variant_matters(change):
    a, b = pair()
    changed = ssim(a, b, dataclasses.replace(WANG, **change)).item()
    assert abs(changed - ssim(a, b).item()) > 1e-5


@pytest.mark.parametrize('variant', [WANG, MATLAB, SKIMAGE], ids=['wang', 'matlab', 'skimage'])
def test_bands_do_not_change_the_result(variant, monkeypatch):
    a, b = pair((2, 3, 75, 40))
    whole = ssim(a, b, variant)
    monkeypatch.setattr(module, '_BAND', 1)
    assert torch.allclose(ssim(a, b, variant), whole, atol=1e-14, rtol=0)


@pytest.mark.parametrize('variant', [WANG, MATLAB, SKIMAGE], ids=['wang', 'matlab', 'skimage'])
def test_batches_numpy_identity_symmetry_and_range(variant):
    a, b = pair((3, 3, 20, 24))
    values = ssim(a, b, variant)
    assert values.shape == (3,)
    singly = [ssim(x, y, variant).item() for x, y in zip(a, b, strict=True)]
    assert values.tolist() == pytest.approx(singly, abs=1e-14)
    assert torch.equal(ssim(a.numpy(), b.numpy(), variant), values)
    assert torch.allclose(ssim(b, a, variant), values, atol=1e-14)
    assert torch.allclose(ssim(b, b, variant), torch.ones(3).double(), atol=1e-12)
    scaled = ssim(a.double() / 255, b.double() / 255, variant, peak=1)
    assert torch.allclose(scaled, values, atol=1e-10)
    assert not torch.allclose(ssim(a, b, variant, peak=1), values, atol=1e-4)


def test_constant_images_by_hand():
    a, b, c1 = 100.0, 150.0, 2.55**2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    for variant in (WANG, MATLAB, SKIMAGE):
        value = ssim(torch.full((3, 12, 12), a), torch.full((3, 12, 12), b), variant).item()
        assert value == pytest.approx(expected, abs=1e-9)


def test_unbiased_variances_count_the_samples_of_the_window():
    assert SSIMVariant(unbiased=True).correction() == 121 / 120
    assert SSIMVariant(unbiased=True, volumetric=True, size=5).correction() == 125 / 124
    assert SSIMVariant().correction() == 1


def test_small_images():
    tiny = torch.rand(3, 10, 40) * 255
    with pytest.raises(ValueError, match=r'\(10, 40\) pixels is smaller .* 11 x 11'):
        ssim(tiny, tiny)
    assert ssim(tiny[:, :, :11], tiny[:, :, :11], SKIMAGE).item() == pytest.approx(1)
    window = torch.rand(1, 11, 11) * 255
    assert ssim(window, window).item() == pytest.approx(1)
    # MATLAB repeats the border, so that no image is too small for it.
    a, b = pair((3, 2, 1))
    assert ssim(a, b, MATLAB).item() == pytest.approx(scipy_volume_ssim(*arrays(a, b)), abs=1e-12)


@pytest.mark.parametrize(
    'wrong',
    [
        {'window': 'box'},
        {'padding': 'same'},
        {'size': 10},
        {'size': 1},
        {'sigma': 0.0},
        {'sigma': math.nan},
    ],
    ids=str,
)
def test_wrong_variants(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SSIMVariant(**wrong)


def test_wrong_images():
    with pytest.raises(ValueError, match='one shape'):
        ssim(torch.zeros(3, 16, 16), torch.zeros(1, 16, 16))
    with pytest.raises(ValueError, match='peak'):
        ssim(torch.zeros(3, 16, 16), torch.zeros(3, 16, 16), peak=0)
