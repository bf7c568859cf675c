"""A folder of odd files: each is restored or named."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image, ImageCms
from toy import plain_model

from mmsamdistill.deploy import Restorer
from mmsamdistill.deploy.export import build_model
from mmsamdistill.deploy.image_files import read_picture, restore_files
from mmsamdistill.images import find_images

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 34, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (24, 34, 4), dtype=np.uint16)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
LONG = 'n' * 246


def write_good(folder):
    """Files that can be restored; gives the size and the channels of each result."""
    image = Image.fromarray(RGB)
    sizes = {}

    def save(name, picture, shape=(24, 34, 3), **options):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, **options)
        sizes[path.relative_to(folder).with_suffix('').as_posix()] = (*shape, 8)

    for suffix in ('bmp', 'jpg', 'png', 'ppm', 'tif', 'webp'):
        save(f'plain_{suffix}.{suffix}', image)
    save('UPPER.PNG', image)
    save('jpeg.JPEG', image, icc_profile=ICC)
    save('icc.png', image, icc_profile=ICC)
    for mode, channels in (('1', 1), ('L', 1), ('LA', 2), ('P', 3), ('RGBA', 4)):
        save(f'mode_{mode}.png', image.convert(mode), (24, 34, channels))
    save('palette_clear.png', image.convert('P'), (24, 34, 4), transparency=0)
    save('grey.jpg', image.convert('L'), (24, 34, 1))
    save('cmyk.jpg', image.convert('CMYK'))
    save('cmyk_tiff.tif', image.convert('CMYK'))
    save('pages.tif', image, save_all=True, append_images=[image])
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        shape = (24, 34, 3) if orientation == 3 else (34, 24, 3)
        save(f'turned{orientation}.jpg', image, shape, exif=exif)
    for height, width in ((1, 1), (1, 34), (24, 1), (2, 3)):
        save(f'{height}x{width}.png', image.crop((0, 0, width, height)), (height, width, 3))
    save('sub/deep er/ünï 画像.png', image)
    save(f'{LONG}.png', image)
    for channels in (1, 3, 4):
        pixels = DEEP[..., :channels]
        pixels = pixels[..., 0] if channels == 1 else pixels
        for suffix in ('png', 'tif'):
            cv2.imwrite(str(folder / f'deep{channels}_{suffix}.{suffix}'), pixels)
            sizes[f'deep{channels}_{suffix}'] = (24, 34, channels, 16)
    outside = folder.parent / 'elsewhere'
    outside.mkdir()
    image.save(outside / 'there.png')
    (folder / 'linked').symlink_to(outside)
    sizes['linked/there'] = (24, 34, 3, 8)
    return sizes


def write_bad(folder):
    image = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in ('jpg', 'png', 'tif', 'webp'):
        path = folder / f'half_{suffix}.{suffix}'
        image.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (folder / 'empty.png').write_bytes(b'')
    (folder / 'text.jpg').write_text('no image')
    (folder / 'nowhere.png').symlink_to(folder / 'absent.png')
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(folder / 'floats.tif')
    return {'half_jpg', 'half_png', 'half_tif', 'half_webp', 'empty', 'text', 'nowhere', 'floats'}


@pytest.fixture
def restorer(tmp_path):
    step = [{'type': 'LoadImageFromFile', 'key': 'img', 'channel_order': 'rgb'}]
    cfg = Config({'model': plain_model(), 'test_pipeline': step})
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'w.pth')
    return Restorer(cfg, tmp_path / 'w.pth', device='cpu')


def test_every_odd_file_is_restored_or_named(restorer, tmp_path):
    folder = tmp_path / 'odd'
    folder.mkdir()
    sizes, bad = write_good(folder), write_bad(folder)
    assert len(sizes) + len(bad) >= 40
    found = find_images(folder).files
    assert set(found) == set(sizes) | bad
    results = {path: tmp_path / 'out' / f'{key}.png' for key, path in found.items()}
    notes = {}
    outcomes = dict(restore_files(restorer, results, notes, 4))
    assert list(outcomes) == list(results)
    keys = {path: key for key, path in found.items()}
    assert {keys[path] for path, error in outcomes.items() if error} == bad
    for path, error in outcomes.items():
        if error:
            assert path.name in str(error), path
            assert not results[path].exists()
            continue
        height, width, channels, bits = sizes[keys[path]]
        again = read_picture(results[path])
        assert again.pixels.shape == (height, width, channels), path
        assert again.pixels.dtype == f'uint{bits}', path
        source = read_picture(path)
        assert again.icc == source.icc
        assert (again.pixels[..., :1] != source.pixels[..., :1]).any() or height * width == 1
        if channels in (2, 4):
            assert (again.pixels[..., -1] == source.pixels[..., -1]).all()
    assert read_picture(results[found['icc']]).icc == ICC
    assert {paths[0].name for paths in notes.values()} == {'cmyk.jpg', 'pages.tif', 'mode_1.png'}


def test_a_name_too_long_for_its_result_fails_alone(restorer, tmp_path):
    for name in (f'{LONG}.png', 'short.png'):
        Image.fromarray(RGB).save(tmp_path / name)
    paths = [tmp_path / f'{LONG}.png', tmp_path / 'short.png']
    results = {path: tmp_path / 'out' / f'{path.stem}_restored.png' for path in paths}
    outcomes = dict(restore_files(restorer, results))
    assert isinstance(outcomes[paths[0]], OSError)
    assert outcomes[paths[1]] is None


def test_one_of_a_batch_fails_alone(restorer, tmp_path):
    def refuse_black(module, inputs):
        if (inputs[0].flatten(1) == 0).all(1).any():
            raise MemoryError('black')

    restorer.model.generator.register_forward_pre_hook(refuse_black)
    for name, pixels in (('a.png', RGB), ('b.png', RGB * 0), ('c.png', RGB)):
        Image.fromarray(pixels).save(tmp_path / name)
    results = {tmp_path / name: tmp_path / 'out' / name for name in ('a.png', 'b.png', 'c.png')}
    outcomes = dict(restore_files(restorer, results, batch_size=4))
    with pytest.raises(ValueError, match='batch_size=0'):
        list(restore_files(restorer, results, batch_size=0))
    assert [type(error) for error in outcomes.values()] == [type(None), MemoryError, type(None)]
