"""Damage is an error, in whatever format and wherever it lies."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from mmagic.registry import TRANSFORMS
from PIL import Image

from mmsamdistill.images import check_whole, decode_image
from mmsamdistill.images.header import PNG_SIGNATURE, check_pixels


def photograph(seed, size=(160, 240)):
    """Smooth shades, edges and grain."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))
    noisy = smooth + generator.normal(0, 6, smooth.shape)
    noisy[40:90, 60:130] = generator.integers(0, 256, 3)
    return noisy.clip(0, 255).astype(np.uint8)


def encode(pixels, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


JPEGS = {
    'baseline': {},
    'optimised': {'optimize': True},
    'whole colours': {'quality': 95, 'subsampling': 0},
    'restarts': {'restart_marker_blocks': 8},
    'progressive': {'progressive': True},
}
FORMATS = [('PNG', {}), ('BMP', {}), ('PPM', {}), ('TIFF', {}), ('WEBP', {'lossless': True})]


@pytest.mark.parametrize('name', JPEGS)
def test_zeros_in_the_middle_of_a_jpeg(name):
    generator, passed = np.random.default_rng(0), 0
    for seed in range(4):
        data = encode(photograph(seed), 'JPEG', **JPEGS[name])
        check_whole(data, 'x.jpg')
        first = data.index(b'\xff\xda') + 20
        for place in generator.integers(first, len(data) - 402, 25):
            broken = data[:place] + bytes(400) + data[place + 400 :]
            try:
                check_whole(broken, 'x.jpg')
            except ValueError:
                continue
            passed += 1
    assert passed == 0


@pytest.mark.parametrize('name', JPEGS)
def test_other_bytes_in_the_middle_of_a_jpeg_as_far_as_they_make_no_sense(name):
    generator, noticed = np.random.default_rng(0), 0
    data = encode(photograph(0), 'JPEG', **JPEGS[name])
    first = data.index(b'\xff\xda') + 20
    for place in generator.integers(first, len(data) - 402, 40):
        try:
            check_whole(data[:place] + generator.bytes(400) + data[place + 400 :], 'x.jpg')
        except ValueError:
            noticed += 1
    assert noticed >= 32


@pytest.mark.parametrize('name', JPEGS)
@pytest.mark.parametrize('shade', [0, 17, 128, 255])
def test_plain_areas_are_no_lost_pieces(name, shade):
    plain = np.full((480, 640, 3), shade, np.uint8)
    check_whole(encode(plain, 'JPEG', **JPEGS[name]), 'x.jpg')
    half = np.concatenate([photograph(0, (240, 640)), plain[:240]])
    check_whole(encode(half, 'JPEG', **JPEGS[name]), 'x.jpg')
    check_whole(encode(plain[..., 0], 'JPEG', **JPEGS[name]), 'x.jpg')


@pytest.mark.parametrize(('kind', 'options'), [*FORMATS, ('JPEG', {})])
def test_half_a_file(kind, options):
    pixels = photograph(0)
    data = encode(pixels, kind, **options)
    if kind != 'JPEG':
        assert np.array_equal(decode_image(data, 'x'), pixels)
    for share in (0.0, 0.02, 0.5, 0.95):
        with pytest.raises(ValueError, match=r'^a/x\.img (is damaged|cannot be read)'):
            decode_image(data[: int(share * len(data))], 'a/x.img')


def test_what_is_no_image():
    for data in (b'no image', b'\xff\xd8', PNG_SIGNATURE, b'BM', b'P6\n'):
        with pytest.raises(ValueError, match=r'^x\.png '):
            decode_image(data, 'x.png')


def test_a_claimed_size_is_refused_before_memory_is_asked_for():
    def chunk(kind, content):
        check = struct.pack('>I', zlib.crc32(kind + content))
        return struct.pack('>I', len(content)) + kind + content + check

    header = struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0)
    png = PNG_SIGNATURE + chunk(b'IHDR', header) + chunk(b'IDAT', b'x') + chunk(b'IEND', b'')
    jpeg = bytearray(encode(photograph(0), 'JPEG'))
    frame = jpeg.index(b'\xff\xc0')
    jpeg[frame + 5 : frame + 9] = struct.pack('>HH', 60_000, 60_000)
    bmp = bytearray(encode(photograph(0), 'BMP'))
    bmp[18:26] = struct.pack('<ii', 60_000, 60_000)
    for data in (png, bytes(jpeg), bytes(bmp)):
        with pytest.raises(ValueError, match=r'60000|too large'):
            check_whole(data, 'x')
    check_pixels(1 << 15, 1 << 14, 'x')  # what OpenCV still decodes, half of it
    with pytest.raises(ValueError, match=r'x claims to be 32768 x 16385 pixels, over 536,870,912'):
        check_pixels(1 << 15, (1 << 14) + 1, 'x')


@pytest.mark.parametrize('kind', ['zeros', 'half', 'nothing'])
def test_the_loader_of_trainings_names_the_damaged_file(tmp_path, kind):
    data = encode(photograph(0), 'JPEG')
    path = tmp_path / 'x.jpg'
    path.write_bytes(data)
    loader = TRANSFORMS.build({'type': 'mmagic.LoadImageFromFile', 'key': 'gt'})
    loaded = loader({'gt_path': str(path)})['gt']
    assert np.array_equal(loaded, cv2.imread(str(path)))
    middle = len(data) // 2
    damaged = {
        'zeros': data[:middle] + bytes(400) + data[middle + 400 :],
        'half': data[:middle],
        'nothing': b'',
    }
    other = tmp_path / 'y.jpg'
    other.write_bytes(damaged[kind])
    with pytest.raises(ValueError, match=r'y\.jpg is damaged'):
        loader({'gt_path': str(other)})
