import dataclasses
import json
import math

import cv2
import numpy as np
import pytest
import torch

from mmsamdistill.evaluation.protocols import (
    METRICS,
    PROTOCOLS,
    Protocol,
    get_protocol,
    measure,
)
from mmsamdistill.evaluation.psnr import psnr
from mmsamdistill.evaluation.ssim import MATLAB, WANG, ssim


def pair(shape=(3, 24, 32), seed=0, noise=8.0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 256, shape, generator=generator).float()
    return (truth + noise * torch.randn(shape, generator=generator)).clamp(0, 255), truth


def saved(image, path):
    """Write an RGB tensor as PNG, read it back as an RGB array of bytes."""
    cv2.imwrite(str(path), image.flip(0).numpy().transpose(1, 2, 0))
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def plain_psnr(a, b, peak=255.0):
    return 20 * math.log10(peak / math.sqrt(((a - b) ** 2).mean()))


def matlab_y(rgb):
    y = (65.481 * rgb[..., 0] + 128.553 * rgb[..., 1] + 24.966 * rgb[..., 2]) / 255 + 16
    return np.floor(y + 0.5)


def basicsr_y(rgb):
    unit = rgb.astype(np.float32) / 255
    y = np.dot(unit, [65.481, 128.553, 24.966]) + 16
    return (y / 255).astype(np.float32) * 255


def reference_ssim(a, b, **options):
    from skimage.metrics import structural_similarity

    settings = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False}
    return structural_similarity(a, b, data_range=255, **(options or settings))


def volume_ssim(a, b, peak):
    from scipy.ndimage import gaussian_filter

    def blur(x):
        return gaussian_filter(x, 1.5, mode='nearest', radius=5)

    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return (numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()


def check(name, prediction, truth, expected_psnr, expected_ssim, tolerance=1e-9):
    values = measure(prediction, truth, name)
    assert values['PSNR'].item() == pytest.approx(expected_psnr, abs=tolerance)
    assert values['SSIM'].item() == pytest.approx(expected_ssim, abs=tolerance)


def test_rain_y_matlab_through_files(tmp_path):
    prediction, truth = pair()
    a = matlab_y(saved(prediction, tmp_path / 'a.png').astype(np.float64))
    b = matlab_y(saved(truth, tmp_path / 'b.png').astype(np.float64))
    check('rain_y_matlab', prediction, truth, plain_psnr(a, b), reference_ssim(a, b))


def test_rain_y_basicsr_through_files(tmp_path):
    prediction, truth = pair()
    a = basicsr_y(saved(prediction, tmp_path / 'a.png')).astype(np.float64)
    b = basicsr_y(saved(truth, tmp_path / 'b.png')).astype(np.float64)
    check('rain_y_basicsr', prediction, truth, plain_psnr(a, b), reference_ssim(a, b), 1e-5)


def test_gopro_rgb_through_files(tmp_path):
    prediction, truth = pair()
    a = saved(prediction, tmp_path / 'a.png').astype(np.float64)
    b = saved(truth, tmp_path / 'b.png').astype(np.float64)
    check('gopro_rgb', prediction, truth, plain_psnr(a, b), volume_ssim(a, b, 255))


def test_denoise_rgb_through_files(tmp_path):
    prediction, truth = pair()
    a = saved(prediction, tmp_path / 'a.png').astype(np.float64)
    b = saved(truth, tmp_path / 'b.png').astype(np.float64)
    expected = np.mean([reference_ssim(a[..., c], b[..., c]) for c in range(3)])
    check('denoise_rgb', prediction, truth, plain_psnr(a, b), expected)


def test_sidd_rgb_is_measured_in_floating_point_between_0_and_1():
    prediction, truth = pair()
    a, b = (image.double().numpy() / 255 for image in (prediction, truth))
    a, b = a.transpose(1, 2, 0), b.transpose(1, 2, 0)
    check('sidd_rgb', prediction, truth, plain_psnr(a, b, 1.0), volume_ssim(a, b, 1.0))


def test_defocus_rgb_is_that_of_scikit_image():
    prediction, truth = pair()
    a, b = (image.double().numpy().transpose(1, 2, 0) for image in (prediction, truth))
    expected = reference_ssim(a, b, channel_axis=2)
    check('defocus_rgb', prediction, truth, plain_psnr(a, b), expected)


@pytest.mark.parametrize(('name', 'convert'), [('mmagic_rgb', None), ('mmagic_y', 'Y')])
def test_protocols_of_the_host(name, convert):
    from mmagic.evaluation.metrics.psnr import psnr as psnr_of_mmagic
    from mmagic.evaluation.metrics.ssim import ssim as ssim_of_mmagic

    prediction, truth = pair()
    options = {'input_order': 'CHW', 'convert_to': convert, 'channel_order': 'rgb'}
    values = [f(prediction, truth, **options) for f in (psnr_of_mmagic, ssim_of_mmagic)]
    check(name, prediction, truth, *values, tolerance=1e-4)


def test_protocols_differ():
    values = {name: measure(*pair(), name) for name in PROTOCOLS}
    names = sorted(PROTOCOLS)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            same = [abs(values[first][m] - values[second][m]).item() < 1e-7 for m in METRICS]
            assert not all(same), (first, second)
    # Luma has 219 steps and less noise than a channel: more than a decibel.
    assert values['rain_y_matlab']['PSNR'] > values['denoise_rgb']['PSNR'] + 1


def test_every_protocol_says_what_it_is():
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert str(protocol) == f'{name}: {protocol.label}'
        assert protocol.source
        assert json.loads(json.dumps(protocol.describe()))['ssim']['size'] == protocol.ssim.size
    labels = [protocol.label for protocol in PROTOCOLS.values()]
    assert len(set(labels)) == len(labels)


def test_protocols_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_protocol('gopro_rgb').crop_border = 3


@pytest.mark.parametrize('name', sorted(PROTOCOLS))
def test_batches_and_order_of_channels(name):
    prediction, truth = pair((2, 3, 16, 18))
    values = measure(prediction, truth, name)
    for index in range(2):
        single = measure(prediction[index], truth[index], name)
        for metric in METRICS:
            assert values[metric][index].item() == pytest.approx(single[metric].item(), abs=1e-12)
    reversed_ = measure(prediction.flip(1), truth.flip(1), name, channel_order='bgr')
    for metric in METRICS:
        assert torch.allclose(reversed_[metric], values[metric], atol=1e-12)


def test_order_of_channels_matters_for_luma():
    images = pair()
    luma = [measure(*images, 'rain_y_matlab', ['PSNR'], order)['PSNR'] for order in ('rgb', 'bgr')]
    assert abs(luma[0] - luma[1]) > 1e-3


@pytest.mark.parametrize('name', sorted(PROTOCOLS))
def test_identical_and_grey_images(name):
    prediction, truth = pair((1, 20, 20))
    values = measure(truth, truth, name)
    assert values['PSNR'].item() == math.inf
    assert values['SSIM'].item() == pytest.approx(1)
    protocol = PROTOCOLS[name]
    rounded = prediction.round() if protocol.rounding == 'nearest' else prediction
    grey = measure(prediction, truth, name)
    assert grey['PSNR'].item() == psnr(rounded, truth).item()
    assert grey['SSIM'].item() == ssim(rounded, truth, protocol.ssim).item()


def test_rounding_hides_small_errors_and_predictions_are_clipped():
    truth = torch.full((3, 16, 16), 100.0)
    assert measure(truth + 0.4, truth, 'gopro_rgb', ['PSNR'])['PSNR'] == math.inf
    assert measure(truth + 0.4, truth, 'sidd_rgb', ['PSNR'])['PSNR'] < 60
    white = torch.full((3, 16, 16), 255.0)
    for name in PROTOCOLS:
        assert measure(white + 90, white, name, ['PSNR'])['PSNR'] == math.inf


CHANGES = [
    {'colour': 'y'},
    {'colour': 'y_matlab'},
    {'rounding': 'none'},
    {'crop_border': 4},
    {'peak': 254.0},
    {'ssim': MATLAB},
]


@pytest.mark.parametrize('change', CHANGES, ids=str)
def test_every_setting_matters(change):
    images = pair()
    base = measure(*images, 'denoise_rgb')
    changed = measure(*images, {'base': 'denoise_rgb', **change})
    assert any(abs(base[name] - changed[name]) > 1e-6 for name in METRICS)
    assert next(iter(change)) in get_protocol({'base': 'denoise_rgb', **change}).label


def test_crop_border():
    prediction, truth = pair()
    cropped = measure(prediction, truth, {'base': 'mmagic_rgb', 'crop_border': 4})
    inner = (slice(None), slice(4, -4), slice(4, -4))
    assert cropped['PSNR'] == psnr(prediction[inner], truth[inner])
    assert cropped['SSIM'] == ssim(prediction[inner], truth[inner])
    with pytest.raises(ValueError, match='leaves nothing of'):
        measure(prediction, truth, {'base': 'mmagic_rgb', 'crop_border': 12})


def test_peak_is_that_of_both_metrics():
    prediction, truth = pair()
    values = measure(prediction, truth, {'base': 'mmagic_rgb', 'peak': 200.0})
    assert values['PSNR'] == psnr(prediction, truth, peak=200.0)
    assert values['SSIM'] == ssim(prediction, truth, peak=200.0)


def test_looking_up():
    protocol = get_protocol('gopro_rgb')
    assert get_protocol(protocol) is protocol
    assert get_protocol({'base': 'gopro_rgb', 'ssim': {'size': 7}}).ssim.size == 7
    assert get_protocol({'base': 'gopro_rgb', 'label': 'mine', 'name': 'x'}).label == 'mine'
    with pytest.raises(KeyError, match=r"'set14'.*'gopro_rgb'"):
        get_protocol('set14')
    with pytest.raises(KeyError, match='gopro_rgb'):
        get_protocol({'crop_border': 1})
    with pytest.raises(TypeError, match='croping'):
        get_protocol({'base': 'gopro_rgb', 'croping': 1})


def test_arguments_are_not_changed():
    config = {'base': 'gopro_rgb', 'crop_border': 1, 'ssim': {'size': 7}}
    prediction, truth = pair()
    before = prediction.clone()
    measure(prediction, truth, config)
    assert config == {'base': 'gopro_rgb', 'crop_border': 1, 'ssim': {'size': 7}}
    assert torch.equal(prediction, before)


@pytest.mark.parametrize(
    ('wrong', 'text'),
    [
        ({'colour': 'ycbcr'}, 'colour='),
        ({'rounding': 'up'}, 'rounding='),
        ({'crop_border': -1}, 'crop_border'),
        ({'peak': 0.0}, 'peak'),
        ({'colour': 'y_matlab', 'rounding': 'none'}, '8-bit'),
    ],
)
def test_wrong_settings(wrong, text):
    with pytest.raises(ValueError, match=text):
        Protocol('a', 'b', 'c', **wrong)


def test_wrong_images_metrics_and_orders():
    protocol = Protocol('a', 'b', 'c', ssim=WANG)
    with pytest.raises(ValueError, match=r'\(24, 32, 3\)'):
        protocol.prepare(pair()[0].permute(1, 2, 0))
    with pytest.raises(ValueError, match="'grb'"):
        protocol.prepare(pair()[0], 'grb')
    with pytest.raises(KeyError, match=r"'LPIPS'.*'PSNR'"):
        measure(*pair(), protocol, ['LPIPS'])
    with pytest.raises(ValueError, match='one shape'):
        measure(pair()[0], pair()[1][:1], protocol)
