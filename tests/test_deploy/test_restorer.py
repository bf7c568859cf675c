import cv2
import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from torch import nn
from toy import cascade_model, plain_model

from mmsamdistill.deploy.export import build_model
from mmsamdistill.deploy.image_files import restore_file
from mmsamdistill.deploy.restorer import Restorer


@MODELS.register_module(force=True)
class ScaleChannels(nn.Module):
    """Tells the three channels apart."""

    def __init__(self, factors=(0.25, 0.5, 1.0)) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.tensor(factors).view(3, 1, 1))

    def forward(self, x):
        return x * self.factors


def settings(model, order='rgb', **step):
    load = {'type': 'LoadImageFromFile', 'key': 'img', 'channel_order': order, **step}
    return Config({'model': model, 'test_pipeline': [load, {'type': 'PackInputs'}]})


def on_file(restorer, path):
    """The result of a file as OpenCV reads it."""
    restore_file(restorer, path, path.parent / 'out' / 'result.png')
    return cv2.imread(str(path.parent / 'out' / 'result.png'), cv2.IMREAD_UNCHANGED)


def save_weights(model, path):
    torch.save({'state_dict': build_model(Config({'model': model})).state_dict()}, path)
    return path


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 45, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'picture.png'), pixels)
    return tmp_path / 'picture.png', pixels.astype(np.float64)


@pytest.mark.parametrize('mean', [0.0, 127.5])
@pytest.mark.parametrize('output_order', [None, 'RGB', 'BGR'])
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_channels_and_range_are_the_configs(picture, tmp_path, order, output_order, mean):
    preprocess = {
        'type': 'DataPreprocessor',
        'mean': [mean] * 3,
        'std': [255.0 - mean] * 3,
        'output_channel_order': output_order,
    }
    model = plain_model({'type': 'ScaleChannels'}, data_preprocessor=preprocess)
    weights = save_weights(model, tmp_path / 'w.pth')
    path, pixels = picture
    seen_order = (output_order or order).lower()
    seen = pixels[..., ::-1] if seen_order == 'rgb' else pixels
    wanted = (seen - mean) * (0.25, 0.5, 1.0) + mean
    wanted = wanted[..., ::-1] if seen_order == 'rgb' else wanted
    restored = on_file(Restorer(settings(model, order), weights, device='cpu'), path)
    assert restored.dtype == np.uint8
    # Rounded, not cut off; half a grey level can fall to either side.
    assert np.abs(restored - wanted).max() <= 0.5 + 1e-3


def test_results_are_clamped(picture, tmp_path):
    model = plain_model({'type': 'ScaleChannels', 'factors': (2.0, -1.0, 1.0)})
    restored = on_file(
        Restorer(settings(model), save_weights(model, tmp_path / 'w.pth')), picture[0]
    )
    rgb = picture[1][..., ::-1]
    assert (restored[..., ::-1][..., 0] == np.minimum(2 * rgb[..., 0], 255)).all()
    assert (restored[..., ::-1][..., 1] == 0).all()


def test_results_are_clamped_where_white_is_one_too(picture, tmp_path):
    # There MMagic, which clips to 0..255, leaves what is brighter than white.
    unit = {'type': 'DataPreprocessor', 'mean': [0.5] * 3, 'std': [0.5] * 3}
    model = plain_model({'type': 'ScaleChannels', 'factors': (2.0,) * 3}, data_preprocessor=unit)
    restored = on_file(
        Restorer(settings(model), save_weights(model, tmp_path / 'w.pth')), picture[0]
    )
    expected = (2 * picture[1] - 127.5).clip(0, 255)
    assert expected.max() == 255
    assert np.abs(restored - expected).max() <= 0.51


def test_tiled_equals_untiled(picture, tmp_path):
    # The toy network sees two pixels far.
    model = plain_model()
    weights = save_weights(model, tmp_path / 'w.pth')
    whole = on_file(Restorer(settings(model), weights), picture[0])
    tiled = on_file(Restorer(settings(model), weights, tile=32, overlap=16), picture[0])
    assert np.abs(whole.astype(int) - tiled).max() <= 1  # a rounding at the very most
    assert (whole == tiled).mean() > 0.999
    seams = on_file(Restorer(settings(model), weights, tile=32, overlap=0), picture[0])
    assert (whole != seams).any()


def test_padding_of_the_preprocessor_is_taken_off(picture, tmp_path):
    model = plain_model(
        data_preprocessor={
            'type': 'DataPreprocessor',
            'mean': [0.0] * 3,
            'std': [255.0] * 3,
            'pad_size_divisor': 16,
        }
    )
    weights = save_weights(model, tmp_path / 'w.pth')
    assert on_file(Restorer(settings(model), weights), picture[0]).shape == (37, 45, 3)
    tiled = Restorer(settings(model), weights, tile=32, overlap=16)
    assert on_file(tiled, picture[0]).shape == (37, 45, 3)


def test_of_a_cascade_the_student_is_used(picture, tmp_path):
    plain = plain_model()
    cascade = cascade_model(plain, regions={'type': 'SAMRegions', 'checkpoint': '/nowhere.pth'})
    trained = build_model(Config({'model': cascade_model(plain)}))
    torch.save({'state_dict': trained.state_dict()}, tmp_path / 'cascade.pth')
    torch.save({'params': trained.restorer.generator.state_dict()}, tmp_path / 'official.pth')
    ours = Restorer(settings(cascade), tmp_path / 'cascade.pth')
    theirs = Restorer(settings(plain), tmp_path / 'official.pth')
    assert (on_file(ours, picture[0]) == on_file(theirs, picture[0])).all()


def test_raw_or_averaged_weights(picture, tmp_path):
    model = plain_model({'type': 'ScaleChannels'})
    weights = {'params': {'factors': torch.ones(3, 1, 1)}}
    weights['params_ema'] = {'factors': torch.zeros(3, 1, 1)}
    torch.save(weights, tmp_path / 'w.pth')
    assert (on_file(Restorer(settings(model), tmp_path / 'w.pth'), picture[0]) == 0).all()
    raw = Restorer(settings(model), tmp_path / 'w.pth', ema=False)
    assert (on_file(raw, picture[0]) == picture[1]).all()


def test_nothing_is_drawn_at_random(tmp_path):
    pixels = torch.rand(3, 9, 12)
    dropping, same = (plain_model({'type': kind}) for kind in ('ToyDropoutNet', 'ToyNet'))
    weights = save_weights(dropping, tmp_path / 'weights.pth')
    restored, expected = (
        Restorer(settings(model), weights, device='cpu')(pixels) for model in (dropping, same)
    )
    assert torch.equal(restored, expected)


@pytest.mark.parametrize('amp', [False, True])
def test_amp_computes_in_half_precision(tmp_path, amp):
    model = plain_model()
    weights = save_weights(model, tmp_path / 'weights.pth')
    restorer, seen = Restorer(settings(model), weights, device='cpu', amp=amp), []
    restorer.model.generator.first.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    restorer(torch.rand(3, 9, 12))
    assert seen == [torch.bfloat16 if amp else torch.float32]


def test_broken_images_are_named(tmp_path):
    model = plain_model()
    restorer = Restorer(settings(model), save_weights(model, tmp_path / 'w.pth'))
    assert restorer.model.data_preprocessor.data_keys is None  # the host is quiet about no truth
    for name, content in (('text.png', b'no image'), ('empty.png', b'')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            on_file(restorer, tmp_path / name)
    with pytest.raises(FileNotFoundError):
        on_file(restorer, tmp_path / 'absent.png')


def test_a_white_that_mmagic_would_clip_is_refused(tmp_path):
    preprocess = {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [65535.0] * 3}
    model = plain_model({'type': 'ScaleChannels'}, data_preprocessor=preprocess)
    weights = save_weights(model, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'white is 65535.*clips restored images to 0\.\.255'):
        Restorer(settings(model), weights)


def test_a_white_that_nobody_tells_is_remarked_on(tmp_path):
    preprocess = {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [1.0] * 3}
    model = plain_model({'type': 'ScaleChannels'}, data_preprocessor=preprocess)
    restorer = Restorer(settings(model), save_weights(model, tmp_path / 'a.pth'))
    assert '255 is taken for it' in restorer.remarks[0]


@MODELS.register_module(force=True)
class KeepsItsPadding(ScaleChannels):
    """Pads to a multiple of 8, and cuts nothing off."""

    def forward(self, x):
        height, width = x.shape[-2:]
        return nn.functional.pad(super().forward(x), (0, -width % 8, 0, -height % 8))


def test_a_network_that_changes_the_size_is_named(tmp_path):
    model = plain_model({'type': 'KeepsItsPadding'})
    restorer = Restorer(settings(model), save_weights(model, tmp_path / 'w.pth'))
    assert restorer(np.zeros((40, 48, 3), np.uint8)).shape == (40, 48, 3)
    with pytest.raises(ValueError, match=r'made \(40, 48\) pixels of \(37, 45\)'):
        restorer(np.zeros((37, 45, 3), np.uint8))
