import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from toy import NAFNET, plain_model

from mmsamdistill.deploy import Restorer
from mmsamdistill.deploy.export import build_model
from mmsamdistill.deploy.tiling import is_out_of_memory

STEP = [{'type': 'LoadImageFromFile', 'key': 'img', 'channel_order': 'rgb'}]


@pytest.fixture
def make(tmp_path):
    def prepare(model=None, change=lambda network: None, **options):
        cfg = Config({'model': model or plain_model(), 'test_pipeline': STEP})
        torch.manual_seed(0)
        built = build_model(cfg)
        change(built.generator)
        torch.save({'state_dict': built.state_dict()}, tmp_path / 'w.pth')
        return Restorer(cfg, tmp_path / 'w.pth', device='cpu', **options)

    return prepare


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def restored_by_hand(restorer, image):
    """The network alone on an image in 0..1."""
    with torch.no_grad():
        return restorer.model.generator(image).clamp(0, 1)


def test_every_kind_comes_back_as_it_went_in(make, pixels):
    restorer = make()
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    wanted = restored_by_hand(restorer, image)
    levels = (wanted[0].permute(1, 2, 0) * 255).numpy()
    restored = restorer(pixels)
    assert restored.dtype == np.uint8
    assert np.abs(restored - levels).max() <= 0.501
    flipped = restorer(np.ascontiguousarray(pixels[..., ::-1]), channel_order='bgr')
    assert (flipped[..., ::-1] == restored).all()
    picture = restorer(Image.fromarray(pixels))
    assert picture.mode == 'RGB'
    assert (np.asarray(picture) == restored).all()
    tensor = restorer(image.half())
    assert tensor.dtype == torch.float16
    assert (tensor - wanted).abs().max() < 2e-3
    assert torch.allclose(restorer(image[0]), wanted[0], atol=1e-5)
    assert (
        restorer(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy() == restored
    ).all()
    floats = restorer(pixels.astype(np.float64) / 255)
    assert floats.dtype == np.float64
    assert np.abs(floats * 255 - levels).max() < 1e-2


def test_sixteen_bits_are_finer_than_eight(make, pixels):
    restorer = make()
    deep = pixels.astype(np.uint16) * 257 + np.random.default_rng(1).integers(
        0, 200, pixels.shape, dtype=np.uint16
    ).clip(0, 65535 - pixels.astype(np.int64) * 257).astype(np.uint16)
    image = torch.from_numpy(deep.astype(np.float32) / 65535).permute(2, 0, 1)[None]
    wanted = restored_by_hand(restorer, image)[0].permute(1, 2, 0).numpy() * 65535
    restored = restorer(deep)
    assert restored.dtype == np.uint16
    assert np.abs(restored - wanted).max() <= 2
    assert len(np.unique(restored)) > 1000


def test_grey_stays_grey_and_transparency_as_it_was(make, pixels):
    restorer = make()
    grey = restorer(pixels[..., 0])
    assert grey.shape == (20, 30)
    rgb = restorer(np.repeat(pixels[..., :1], 3, 2)).astype(float)
    assert np.abs(grey - rgb.mean(-1)).max() <= 1
    rgba = restorer(np.dstack([pixels, pixels[..., 0]]))
    assert (rgba[..., 3] == pixels[..., 0]).all()
    assert (rgba[..., :3] == restorer(pixels)).all()
    for mode in ('L', 'LA', 'RGBA'):
        image = Image.fromarray(pixels).convert(mode)
        assert restorer(image).mode == mode


def test_transparent_colours_become_transparency(make, pixels):
    restorer = make()
    grey, key = Image.fromarray(pixels[..., 0]), int(pixels[3, 4, 0])
    colours = Image.fromarray(pixels)
    for image, transparent, mode in ((grey, key, 'LA'), (colours, tuple(pixels[3, 4]), 'RGBA')):
        image.info['transparency'] = transparent
        restored = restorer(image)
        assert restored.mode == mode
        clear = (pixels == pixels[3, 4]).all(-1) if mode == 'RGBA' else pixels[..., 0] == key
        assert (np.asarray(restored)[..., -1] == np.where(clear, 0, 255)).all()
        assert 'transparency' not in restored.info
    premultiplied = colours.convert('RGBA').convert('RGBa')
    assert restorer(premultiplied).mode == 'RGBA'
    cmyk = colours.convert('CMYK')
    cmyk.info['icc_profile'] = b'of CMYK'
    assert restorer(cmyk).info == {}


def test_arrays_of_any_layout(make, pixels):
    restorer = make()
    wanted = restorer(pixels)
    assert (
        restorer(pixels[::-1, ::-1])[::-1, ::-1] == restorer(pixels[::-1, ::-1].copy())[::-1, ::-1]
    ).all()
    assert (restorer(np.asfortranarray(pixels)) == wanted).all()
    deep = pixels.astype(np.uint16) * 257
    turned = restorer(deep.astype('>u2'))
    assert turned.dtype == '>u2'
    assert (turned == restorer(deep)).all()
    tensor = torch.from_numpy(pixels.astype(np.float64) / 255).permute(2, 0, 1).requires_grad_()
    assert restorer(tensor).dtype == torch.float64
    assert restorer([]) == []


def test_colours_through_a_restorer_of_one_channel(make, pixels):
    model = {**NAFNET, 'generator': {**NAFNET['generator'], 'img_channels': 1}}
    model['data_preprocessor'] = {'type': 'DataPreprocessor', 'mean': [0.0], 'std': [255.0]}
    restorer = make(model)
    restored = restorer(pixels)
    for channel in range(3):
        assert (restored[..., channel] == restorer(pixels[..., channel])).all()


def test_lists_and_batches(make, pixels):
    images = [pixels, pixels[:10], pixels[10:], pixels.astype(np.float32) / 255]
    single = [make()(image) for image in images]
    seen = []
    restorer = make()
    restorer.model.generator.register_forward_hook(lambda m, i, o: seen.append(len(o)))
    for one, other in zip(single, restorer(images, batch_size=2), strict=True):
        assert one.dtype == other.dtype
        assert np.allclose(one, other, atol=1e-4)
    assert seen == [1, 2, 1]


@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        ('photo.png', TypeError, 'str is no image'),
        (np.zeros((4, 4), np.int64), TypeError, 'int64'),
        (np.full((4, 4), 255.0), ValueError, r'values from 255 to 255'),
        (np.linspace(-1, 1, 16).reshape(4, 4), ValueError, r'values from -1 to 1'),
        (np.array([[0.5, np.nan]]), ValueError, 'nan'),
        (torch.tensor([[[0.5, -torch.inf]]]), ValueError, 'inf'),
        (np.zeros((4, 4), bool), TypeError, 'bool'),
        (np.zeros((4, 4), np.complex64), TypeError, 'complex64'),
        (Image.new('F', (4, 4)), TypeError, 'mode F'),
        (np.zeros((4, 4, 5), np.uint8), ValueError, '5 channels'),
        (np.zeros((0, 4, 3), np.uint8), ValueError, 'no pixels'),
        (torch.zeros(4, 4), ValueError, r'\(C, H, W\)'),
    ],
)
def test_what_is_no_image_is_named(make, image, error, message):
    with pytest.raises(error, match=message):
        make()(image)


def test_not_finite_is_an_error_and_not_black(make, pixels):
    for value in (float('nan'), float('inf')):
        restorer = make(change=lambda net, value=value: net.last.bias.data.fill_(value))
        with pytest.raises(FloatingPointError, match='ToyNet gave NaN'):
            restorer(pixels)


def test_senseless_settings_are_one_clear_line(make):
    for options, message in (
        ({'overlap': 16}, 'without tiles'),
        ({'tile': 30}, 'multiple of 16'),
        ({'local': 64}, 'no global pooling'),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
    with pytest.raises(ValueError, match='batch_size=0'):
        make()([], batch_size=0)


def test_a_device_that_is_not_there(make, tmp_path):
    make()
    cfg = Config({'model': plain_model(), 'test_pipeline': STEP})
    for name in ('banana', 'cuda:99'):
        with pytest.raises(ValueError, match=f"device '{name}' is not there"):
            Restorer(cfg, tmp_path / 'w.pth', device=name)


RESTORMER = {
    'type': 'Restormer',
    'dim': 8,
    'num_blocks': [1, 1, 1, 1],
    'num_refinement_blocks': 1,
    'heads': [1, 1, 1, 1],
}
SWINIR = {
    'type': 'SwinIRNet',
    'img_size': 16,
    'window_size': 8,
    'depths': [2],
    'num_heads': [2],
    'embed_dim': 8,
    'upscale': 1,
    'in_chans': 3,
    'img_range': 1.0,
}


@pytest.mark.parametrize('generator', [RESTORMER, SWINIR])
@pytest.mark.parametrize('size', [(1, 1), (1, 40), (5, 3)])
def test_images_too_small_for_the_network(make, pixels, generator, size):
    restorer = make(plain_model(generator))
    image = pixels[: size[0], : size[1]]
    # Their last row and column are repeated.
    height, width, _ = image.shape
    grown = np.pad(image, ((0, 64 - height), (0, 64 - width), (0, 0)), mode='edge')
    assert (restorer(image) == restorer(grown)[:height, :width]).all()


# Larger than the toy networks see: PReNet of two stages 28 pixels, SwinIR two windows.
@pytest.mark.slow
@pytest.mark.parametrize(
    'generator',
    [SWINIR, {'type': 'PReNet', 'num_stages': 2, 'mid_channels': 4}, {'type': 'ToyNet'}],
    ids=['SwinIR', 'PReNet', 'ToyNet'],
)
@pytest.mark.parametrize('size', [(1, 1), (1, 300), (3, 17), (150, 37), (203, 185)])
def test_tiled_equals_whole_at_every_size(make, generator, size):
    restorer = make(plain_model(generator))
    image = torch.rand(3, *size)
    whole = restorer(image)
    restorer.tile, restorer.overlap = 144, 128
    assert (restorer(image) - whole).abs().max() <= 1e-4


def test_auto_measures_what_fits(make, monkeypatch):
    image = torch.rand(3, 150, 170)
    whole = make()(image)
    restorer = make(tile='auto')
    assert torch.equal(restorer(image), whole)
    assert restorer.remarks == []
    monkeypatch.setattr('mmsamdistill.deploy.tiling._free_memory', lambda device: 1000)
    restorer = make(tile='auto')
    seen = []
    restorer.model.generator.register_forward_hook(lambda m, i, o: seen.append(o.shape[-1]))
    assert torch.allclose(restorer(image), whole, atol=1e-5)
    assert max(seen) == 128
    assert 'windows' in restorer.remarks[0]


def test_a_cpu_is_not_asked_for_more_than_it_has(make, monkeypatch):
    image = torch.rand(3, 200, 250)
    whole = make()(image)
    seen = []
    monkeypatch.setattr('mmsamdistill.deploy.tiling._free_memory', lambda device: 3_500_000)
    for surely, largest in ((1 << 22, 250), (100, 128)):
        monkeypatch.setattr('mmsamdistill.deploy.restorer._SURELY_FIT', surely)
        restorer = make()
        restorer.model.generator.register_forward_hook(lambda m, i, o: seen.append(o.shape[-1]))
        assert torch.allclose(restorer(image), whole, atol=1e-5)
        assert max(seen) == largest
        assert bool(restorer.remarks) == (largest < 250)
        seen.clear()
    monkeypatch.setattr('mmsamdistill.deploy.tiling._free_memory', lambda device: 2_500_000)
    with pytest.raises(MemoryError, match=r'200 x 250 pixels need 0\.0 GiB .* cut the image'):
        restorer(image)
    assert not seen


def test_out_of_memory_falls_back_to_windows(make):
    image = torch.rand(3, 300, 280)
    whole = make()(image)
    restorer = make()

    def exhausted(module, inputs):
        if inputs[0].shape[-2] * inputs[0].shape[-1] > 160 * 160:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')

    restorer.model.generator.register_forward_pre_hook(exhausted)
    assert torch.allclose(restorer(image), whole, atol=1e-5)
    assert len(restorer.remarks) == 1

    def always(module, inputs):
        raise MemoryError('no more')

    restorer.model.generator.register_forward_pre_hook(always)
    with pytest.raises(MemoryError):
        restorer(image)


@pytest.mark.parametrize(
    'error',
    [
        torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB'),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'),
        RuntimeError('MPS backend out of memory'),
        MemoryError(),
        RuntimeError('shapes differ'),
    ],
)
def test_what_means_out_of_memory(error):
    assert is_out_of_memory(error) == ('differ' not in str(error))


def test_half_precision_is_used_and_close(make, pixels):
    types = []
    restorer = make(amp=True)
    restorer.model.generator.register_forward_hook(
        lambda m, i, o: types.append(m.first.weight.dtype)
    )
    hidden = []
    restorer.model.generator.first.register_forward_hook(lambda m, i, o: hidden.append(o.dtype))
    half = restorer(pixels).astype(int)
    assert hidden == [torch.bfloat16]
    assert 0 < np.abs(half - make()(pixels)).max() <= 8


def test_local_statistics_are_the_configs_or_the_calls(make):
    model = {**NAFNET}

    def change(network):
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)

    image = torch.rand(3, 80, 130)
    plain, local = make(model, change)(image), make(model, change, local=64)
    assert local.window == 64
    assert (local(image) - plain).abs().max() > 1e-4
