import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from mmsamdistill.deploy.image_files import Picture, encode_png, read_picture
from mmsamdistill.images.header import png_chunk

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (9, 13, 4), dtype=np.uint16)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_png_keeps_everything(tmp_path, channels, dtype):
    pixels = (DEEP[..., :channels] >> (0 if dtype is np.uint16 else 8)).astype(dtype)
    exif = Image.Exif()
    exif[0x010F] = 'a camera'
    data = encode_png(Picture(pixels, ICC, exif.tobytes().removeprefix(b'Exif\0\0')))
    (tmp_path / 'a.png').write_bytes(data)
    again = read_picture(tmp_path / 'a.png')
    assert again.pixels.dtype == dtype
    assert (again.pixels == pixels).all()
    assert again.icc == ICC
    assert Image.open(io.BytesIO(data)).getexif()[0x010F] == 'a camera'
    if channels != 2:
        theirs = np.atleast_3d(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
        assert (theirs[..., [2, 1, 0, 3][:channels] if channels > 1 else [0]] == pixels).all()


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.webp'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_is_applied_once(tmp_path, suffix, orientation):
    smooth = cv2.resize(RGB, (52, 36), interpolation=cv2.INTER_LINEAR)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f'a{suffix}'
    lossless = {'lossless': True} if suffix == '.webp' else {'quality': 100}
    Image.fromarray(smooth).save(path, exif=exif, **lossless)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert('RGB')).astype(int)
    picture = read_picture(path)
    assert picture.pixels.shape == wanted.shape
    assert np.abs(picture.pixels - wanted).max() <= 8  # decoders of JPEG differ a little
    result = Image.open(io.BytesIO(encode_png(picture)))
    assert result.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_orientation_of_sixteen_bits(tmp_path, orientation):
    tifffile = pytest.importorskip('tifffile')
    pixels = DEEP[..., :3].copy()
    extra = [(274, 'H', 1, orientation, True)]
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', extratags=extra)
    turned = {1: pixels, 3: pixels[::-1, ::-1], 6: np.rot90(pixels, -1)}[orientation]
    picture = read_picture(tmp_path / 'a.tif')
    assert picture.pixels.dtype == np.uint16
    assert picture.pixels.shape == turned.shape
    assert (picture.pixels == turned).all()


def test_modes_and_what_is_lost(tmp_path):
    image = Image.fromarray(RGB)
    for mode, channels, note in (
        ('1', 1, 'palettes'),
        ('L', 1, None),
        ('LA', 2, None),
        ('P', 3, 'palettes'),
        ('RGBA', 4, None),
    ):
        image.convert(mode).save(tmp_path / 'a.png')
        picture = read_picture(tmp_path / 'a.png')
        assert picture.pixels.shape[-1] == channels
        assert [text for text in picture.notes if note and note in text] or not note
        assert (picture.notes == []) == (note is None)
    image.convert('CMYK').save(tmp_path / 'a.jpg', icc_profile=ICC)
    picture = read_picture(tmp_path / 'a.jpg')
    assert picture.pixels.shape[-1] == 3
    assert picture.icc is None
    assert 'CMYK' in picture.notes[0]
    image.convert('P').save(tmp_path / 'b.png', transparency=3)
    assert read_picture(tmp_path / 'b.png').pixels.shape[-1] == 4
    image.save(tmp_path / 'a.tif', save_all=True, append_images=[image])
    assert 'pages' in read_picture(tmp_path / 'a.tif').notes[0]


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.webp', '.bmp', '.ppm'])
def test_half_a_file_is_an_error(tmp_path, suffix):
    large = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f'a{suffix}'
    Image.fromarray(large).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf'a\{suffix}'):
        read_picture(path)


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.ppm'])
@pytest.mark.parametrize('compressed', [False, True])
def test_half_a_file_of_sixteen_bits_is_an_error(tmp_path, suffix, compressed):
    large = RNG.integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    path = tmp_path / f'a{suffix}'
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 5 if compressed else 1] if suffix == '.tif' else []
    cv2.imwrite(str(path), large, options)
    assert (read_picture(path).pixels == large[..., ::-1]).all()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf'a\{suffix}'):
        read_picture(path)


def test_what_cannot_be_restored_is_named(tmp_path):
    for name, content in (('empty.png', b''), ('text.png', b'no image')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name) as refused:
            read_picture(tmp_path / name)
        assert 'BytesIO' not in str(refused.value)
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(tmp_path / 'f.tif')
    with pytest.raises(ValueError, match='float32'):
        read_picture(tmp_path / 'f.tif')


@pytest.mark.parametrize(
    'kind', [{'photometric': 'miniswhite'}, {'photometric': 'rgb', 'planarconfig': 'separate'}]
)
def test_sixteen_bits_that_opencv_reads_wrongly_are_refused(tmp_path, kind):
    tifffile = pytest.importorskip('tifffile')
    pixels = (
        DEEP[..., 0] if kind['photometric'] == 'miniswhite' else DEEP[..., :3].transpose(2, 0, 1)
    )
    tifffile.imwrite(tmp_path / 'a.tif', pixels, **kind)
    with pytest.raises(ValueError, match=r'a\.tif has 16 bits in separate planes, inverted'):
        read_picture(tmp_path / 'a.tif')


def test_a_transparent_level_of_sixteen_bits(tmp_path):
    data = encode_png(Picture(DEEP[..., :1]))
    key = int(DEEP[4, 5, 0])
    end = data.index(b'IDAT') - 4
    (tmp_path / 'a.png').write_bytes(
        data[:end] + png_chunk(b'tRNS', key.to_bytes(2, 'big')) + data[end:]
    )
    pixels = read_picture(tmp_path / 'a.png').pixels
    assert pixels.dtype == np.uint16
    assert (pixels[..., 0] == DEEP[..., 0]).all()
    assert (pixels[..., 1] == np.where(DEEP[..., 0] == key, 0, 65535)).all()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_rows_that_a_whole_png_does_not_have_are_no_black_rows(tmp_path, dtype):
    data = encode_png(Picture(RGB.astype(dtype)))
    size = struct.pack('>II', 13, 90)
    header = size + data[24:29]
    (tmp_path / 'a.png').write_bytes(data[:8] + png_chunk(b'IHDR', header) + data[33:])
    with pytest.raises(ValueError, match=r'a\.png is damaged'):
        read_picture(tmp_path / 'a.png')


def test_larger_than_pillow_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    assert (read_picture(tmp_path / 'a.png').pixels == RGB).all()
    assert Image.MAX_IMAGE_PIXELS == 10
