import math

import numpy as np
import pytest
import torch

from mmsamdistill.evaluation.psnr import decibel, psnr, squared_error


def pair(shape=(3, 17, 23), seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 256, shape, generator=generator).float()
    return (truth + 20 * torch.randn(shape, generator=generator)).clamp(0, 255), truth


def test_equals_a_loop():
    prediction, truth = pair((2, 3, 4))
    total = 0.0
    for a, b in zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True):
        total += (a - b) ** 2
    expected = 20 * math.log10(255 / math.sqrt(total / 24))
    assert psnr(prediction, truth).item() == pytest.approx(expected, abs=1e-10)


def test_equals_scikit_image_torchmetrics_and_mmagic():
    from mmagic.evaluation.metrics.psnr import psnr as of_mmagic
    from skimage.metrics import peak_signal_noise_ratio
    from torchmetrics.functional.image import peak_signal_noise_ratio as of_torchmetrics

    prediction, truth = pair()
    value = psnr(prediction, truth).item()
    reference = peak_signal_noise_ratio(
        truth.double().numpy(), prediction.double().numpy(), data_range=255
    )
    assert value == pytest.approx(reference, abs=1e-9)
    other = of_torchmetrics(prediction.double(), truth.double(), data_range=255.0)
    assert value == pytest.approx(other.item(), abs=1e-5)
    assert value == pytest.approx(of_mmagic(prediction, truth, input_order='CHW'), abs=1e-4)


def test_peak():
    prediction, truth = pair()
    assert psnr(prediction / 255, truth / 255, peak=1) == pytest.approx(psnr(prediction, truth))
    assert psnr(prediction, truth, peak=1) < psnr(prediction, truth)
    for peak in (0, -1.0, float('nan')):
        with pytest.raises(ValueError, match='peak'):
            psnr(prediction, truth, peak)


def test_accumulates_in_float64():
    truth = torch.zeros(1, 1024, 1024)
    prediction = truth + 0.1
    exact = 20 * math.log10(255 / float(np.float32(0.1)))
    assert psnr(prediction, truth).item() == pytest.approx(exact, abs=1e-10)


def test_identical_images_are_infinitely_good():
    truth = pair()[1]
    assert psnr(truth, truth).item() == math.inf


def test_one_value_for_each_image_of_a_batch():
    prediction, truth = pair((4, 3, 9, 8))
    values = psnr(prediction, truth)
    assert values.shape == (4,)
    assert values.tolist() == [psnr(a, b).item() for a, b in zip(prediction, truth, strict=True)]


def test_numpy_and_integer_images():
    prediction, truth = (image.round().to(torch.uint8) for image in pair())
    expected = psnr(prediction.float(), truth.float())
    assert psnr(prediction, truth) == expected
    assert psnr(prediction.numpy(), truth.numpy()) == expected


def test_nan_is_not_hidden():
    prediction, truth = pair()
    prediction[0, 0, 0] = float('nan')
    assert psnr(prediction, truth).isnan()


@pytest.mark.parametrize(
    ('first', 'second', 'text'),
    [
        ((3, 8, 8), (3, 8, 9), 'one shape'),
        ((8, 8), (8, 8), r'\(C, H, W\)'),
        ((3, 0, 8), (3, 0, 8), 'not empty'),
    ],
)
def test_wrong_shapes(first, second, text):
    with pytest.raises(ValueError, match=text):
        psnr(torch.zeros(first), torch.zeros(second))


def test_squared_error_is_the_map_behind_psnr():
    prediction, truth = pair((2, 3, 9, 8))
    error = squared_error(prediction, truth)
    assert error.shape == (2, 9, 8)
    expected = ((prediction - truth).double().numpy() ** 2).mean(1)
    assert np.allclose(error.numpy(), expected, rtol=1e-5)
    assert torch.allclose(decibel(error.mean((1, 2))), psnr(prediction, truth))
