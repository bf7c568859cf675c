"""Restore a folder of odd files by the real tool, and account for each of them.

What can be restored must come out with exactly the right pixels, depth, transparency, profile and
turn; everything else must be refused by name, alone. The networks are known ones: what they give is
computed again by NumPy from the pixels that were drawn. Exit code 1 if a file came out otherwise.

    python benchmarks/robustness/odd_files.py [--only WORD] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import torch
from mmengine.registry import MODELS
from PIL import Image, ImageCms, ImageOps
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
HEIGHT, WIDTH = 24, 34
_DRAW = np.random.default_rng(0)
DEEP = _DRAW.integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
RGBA = (DEEP >> 8).astype(np.uint8)
RGB = RGBA[..., :3]
GREY = RGBA[..., :1]
_Y, _X = np.mgrid[:HEIGHT, :WIDTH]
# A JPEG of quality 100 keeps what is smooth, to a level or two.
SMOOTH = np.stack([_X + _Y + 60, 3 * _Y + 20, 2 * _X + 9], axis=-1).astype(np.uint8)

# By name, the matrix and the offset between the channels that a network sees and gives.
NETWORKS: dict[str, tuple[list[list[float]], list[float]]] = {
    'same': ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 0, 0]),
    'negative': ([[-1, 0, 0], [0, -1, 0], [0, 0, -1]], [1, 1, 1]),
    'mixed': ([[0, 0, -1], [1, 0, 0], [0, 1, 0]], [1, 0, 0]),
    'grey': ([[-1]], [1]),
}


@MODELS.register_module(force=True)
class MixChannels(nn.Module):
    """A network whose output anybody can compute."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix the channels of (N, C, H, W)."""
        return self.mix(x)


def expected(name: str, pixels: np.ndarray, rounded: bool = True) -> np.ndarray:
    """What a network makes of upright pixels, transparency left as it is."""
    matrix, offset = (np.array(each, float) for each in NETWORKS[name])
    alpha = pixels.shape[-1] in (2, 4)
    white = np.iinfo(pixels.dtype).max
    colours = (pixels[..., :-1] if alpha else pixels) / white
    if len(matrix) == 1:
        restored = colours * matrix[0, 0] + offset
    else:
        restored = np.broadcast_to(colours, (*colours.shape[:2], 3)) @ matrix.T + offset
        if colours.shape[-1] == 1:
            restored = restored.mean(-1, keepdims=True)
    restored = restored * white
    if rounded:
        restored = np.rint(restored).astype(pixels.dtype)
    return np.concatenate([restored, pixels[..., -1:]], -1) if alpha else restored


@dataclass
class Odd:
    """A file, and what has to become of it: upright pixels, or None for a refusal."""

    name: str
    pixels: np.ndarray | None = None
    icc: bytes | None = None
    tolerance: int = 0
    camera: bool = False

    @property
    def result(self) -> str:
        """Where the result goes, below the folder of results."""
        return os.path.splitext(self.name)[0] + '.png'


class World:
    """The folder, as it is filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.odd: list[Odd] = []
        self.skipped: list[str] = []

    def path(self, name: str) -> Path:
        """Where a file goes; no two of them share a result."""
        twins = {odd.name for odd in self.odd if odd.result == Odd(name).result}
        assert not twins, f'{name} and {twins} have the same result'
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def good(self, name: str, pixels: np.ndarray, data: bytes | None = None, **known: Any) -> None:
        """Add a file that can be restored; without data, a PNG."""
        self.path(name).write_bytes(png(pixels) if data is None else data)
        self.odd.append(Odd(name, pixels, **known))

    def bad(self, name: str, data: bytes | None = None) -> Path:
        """Add a file that has to be refused; without data, whoever calls makes it."""
        path = self.path(name)
        if data is not None:
            path.write_bytes(data)
        self.odd.append(Odd(name))
        return path

    def skip(self, name: str, data: bytes = b'something') -> None:
        """Add a file that is none of the images, and has to be counted as such."""
        self.path(name).write_bytes(data)
        self.skipped.append(name)


# --- Files, written by other encoders than the tool's, or by hand where there is none.


def png(
    pixels: np.ndarray,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    kind: int | None = None,
    bits: int | None = None,
    size: tuple[int, int] | None = None,
    interlaced: bool = False,
) -> bytes:
    """A PNG by hand: any colour type, depth, chunks, declared size, and Adam7."""
    height, width, channels = pixels.shape
    bits = bits or 8 * pixels.dtype.itemsize
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels] if kind is None else kind
    steps = [(0, 0, 1, 1)]
    if interlaced:
        steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
        steps += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b''
    for top, left, down, right in steps:
        part = pixels[top::down, left::right]
        if not part.size:
            continue
        if bits < 8:
            planes = np.unpackbits(part, axis=-1)[..., 8 - bits :].reshape(part.shape[0], -1)
            lines = np.packbits(planes, axis=-1)
        else:
            lines = np.ascontiguousarray(part, f'>u{bits // 8}').reshape(part.shape[0], -1)
        rows += b''.join(b'\0' + line.tobytes() for line in lines)
    height, width = size or (height, width)
    header = struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, interlaced)
    whole = [(b'IHDR', header), *chunks, (b'IDAT', zlib.compress(rows)), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(content)) + name + content
        + struct.pack('>I', zlib.crc32(name + content))
        for name, content in whole
    )  # fmt: skip


def pillow(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """A file as Pillow writes it."""
    if isinstance(pixels, np.ndarray):
        pixels = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    stream = io.BytesIO()
    pixels.save(stream, kind, **options)
    return stream.getvalue()


def tiff(pixels: np.ndarray, orientation: int = 1, **options: Any) -> bytes:
    """A file as tifffile writes it."""
    stream = io.BytesIO()
    photometric = 'rgb' if pixels.shape[-1] > 2 else 'minisblack'
    tags = [(274, 'H', 1, orientation, True)]
    options = {'photometric': photometric, 'extratags': tags, 'metadata': None, **options}
    shaped = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    tifffile.imwrite(stream, shaped, **options)
    return stream.getvalue()


def opencv(pixels: np.ndarray, suffix: str) -> bytes:
    """A file as OpenCV writes it."""
    order = [2, 1, 0, 3][: pixels.shape[-1]] if pixels.shape[-1] > 2 else [0]
    return cv2.imencode(suffix, pixels[..., order])[1].tobytes()


def decoded(data: bytes, mode: str = 'RGB') -> np.ndarray:
    """A lossy file as Pillow reads it, upright."""
    pixels = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels that have to be stored for a turn, by the table of the EXIF standard."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation].copy()


def camera(orientation: int = 1) -> Image.Exif:
    """Camera data, with a turn."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, 'a camera'
    return exif


# --- The folder's parts.


def add_depths(world: World) -> None:
    """8 and 16 bits, with one to four channels, in every format that has them."""
    for depth, pixels in (('8', RGBA), ('16', DEEP)):
        for channels in (1, 2, 3, 4):
            part = pixels[..., :channels]
            world.good(f'depth/{depth}_{channels}_png.png', part)
            world.good(f'depth/{depth}_{channels}_adam7.png', part, png(part, interlaced=True))
            extra = {'extrasamples': ['unassalpha']} if channels in (2, 4) else {}
            for name, how in (
                ('tif', {}),
                ('big', {'byteorder': '>'}),
                ('zip', {'compression': 'zlib', 'predictor': True}),
            ):
                data = tiff(part, **extra, **how)
                # Nothing at hand reads grey of 16 bits with transparency from a TIFF.
                add = world.bad if (depth, channels) == ('16', 2) else world.good
                add(
                    f'depth/{depth}_{channels}_{name}.tif',
                    *([data] if add == world.bad else [part, data]),
                )
        for channels, suffix in ((1, 'pgm'), (3, 'ppm')):
            part = pixels[..., :channels]
            world.good(f'depth/{depth}_{suffix}.ppm', part, opencv(part, f'.{suffix}'))
    for suffix, pixels in (('bmp', RGB), ('webp', RGBA)):
        data = pillow(
            pixels,
            suffix.upper(),
            **({'lossless': True, 'exact': True} if suffix == 'webp' else {}),
        )
        world.good(f'depth/8_{suffix}.{suffix}', pixels, data)
    for bits in (1, 2, 4):
        levels = GREY >> (8 - bits)
        shades = levels * (255 // (2**bits - 1))
        world.good(f'depth/{bits}bit.png', shades, png(levels, bits=bits))
    one = GREY[..., 0] > 127
    world.good(
        'depth/one_bit.tif', (one * np.uint8(255))[..., None], pillow(Image.fromarray(one), 'TIFF')
    )
    world.good('depth/white_is_zero.tif', 255 - GREY, tiff(GREY, photometric='miniswhite'))
    world.bad('depth/16_white_is_zero.tif', tiff(DEEP[..., :1], photometric='miniswhite'))
    planes = {'planarconfig': 'separate', 'photometric': 'rgb'}
    world.good('depth/planes.tif', RGB, tiff(RGB.transpose(2, 0, 1), **planes))
    world.bad('depth/16_planes.tif', tiff(DEEP[..., :3].transpose(2, 0, 1), **planes))
    five = np.concatenate([RGBA, GREY], -1)
    world.bad('depth/16_five.tif', tiff(five.astype(np.uint16), planarconfig='contig'))
    world.bad('depth/float32.tif', tiff(RGB.astype(np.float32) / 255))
    world.bad('depth/float16.tif', tiff((GREY / 255).astype(np.float16)))
    world.bad('depth/int32.tif', tiff(GREY.astype(np.int32)))
    world.bad('depth/int16.tif', tiff(GREY.astype(np.int16)))
    world.bad('depth/double.tif', tiff(GREY.astype(np.float64)))


def add_transparency(world: World) -> None:
    """Palettes and single transparent colours."""
    indices = (GREY >> 4).astype(np.uint8)
    palette = np.stack([np.arange(16) * 16, 255 - np.arange(16) * 9, np.arange(16) * 5], -1).astype(
        np.uint8
    )
    clear = np.array([0, 80, 255, 9, *[255] * 12], np.uint8)
    plte, trns = (b'PLTE', palette.tobytes()), (b'tRNS', clear.tobytes())
    colours = palette[indices[..., 0]]
    both = np.concatenate([colours, clear[indices]], -1)
    for bits in (4, 8):
        world.good(f'clear/palette{bits}.png', colours, png(indices, (plte,), 3, bits))
        world.good(f'clear/palette{bits}_clear.png', both, png(indices, (plte, trns), 3, bits))
    for name, pixels in (('8', RGB), ('16', DEEP[..., :3])):
        white = np.iinfo(pixels.dtype).max
        for channels in (1, 3):
            part = pixels[..., :channels]
            key = part[3, 5]
            alpha = ((part != key).any(-1, keepdims=True) * white).astype(part.dtype)
            trns = (b'tRNS', b''.join(struct.pack('>H', each) for each in key.tolist()))
            world.good(
                f'clear/{name}_{channels}_key.png',
                np.concatenate([part, alpha], -1),
                png(part, (trns,)),
            )
    animated = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for kind, options in (('PNG', {}), ('WEBP', {'lossless': True, 'exact': True}), ('TIFF', {})):
        suffix = {'PNG': 'png', 'WEBP': 'webp', 'TIFF': 'tif'}[kind]
        data = pillow(animated[0], kind, save_all=True, append_images=animated[1:], **options)
        world.good(f'clear/pages_{suffix}.{suffix}', RGB, data)
    flat = Image.fromarray((RGB >> 6) << 6).convert('P', palette=Image.Palette.ADAPTIVE)
    data = pillow(flat, 'GIF', save_all=True, append_images=[flat.rotate(180)])
    world.good('clear/film_that_lies.png', np.asarray(flat.convert('RGB')), data)


def add_profiles(world: World) -> None:
    """Colour profiles, camera data, and what has another colour space."""
    world.good('profile/a.png', RGB, pillow(RGB, 'PNG', icc_profile=ICC), icc=ICC)
    world.good('profile/b.tif', RGB, pillow(RGB, 'TIFF', icc_profile=ICC), icc=ICC)
    webp = pillow(RGB, 'WEBP', icc_profile=ICC, lossless=True)
    world.good('profile/c.webp', RGB, webp, icc=ICC)
    jpeg = pillow(SMOOTH, 'JPEG', icc_profile=ICC, quality=100, exif=camera())
    world.good('profile/d.jpg', decoded(jpeg), jpeg, icc=ICC, tolerance=2, camera=True)
    deep = DEEP[..., :3]
    world.good('profile/e.tif', deep, tiff(deep, iccprofile=ICC), icc=ICC)
    chunk = (b'iCCP', b'a name\0\0' + zlib.compress(ICC))
    world.good('profile/f.png', deep, png(deep, (chunk,)), icc=ICC)
    grey = pillow(SMOOTH[..., :1], 'JPEG', quality=100)
    world.good('profile/grey.jpg', decoded(grey, 'L'), grey, tolerance=2)
    progressive = pillow(SMOOTH, 'JPEG', quality=95, progressive=True)
    world.good('profile/progressive.jpeg', decoded(progressive), progressive, tolerance=2)
    cmyk = Image.fromarray(SMOOTH).convert('CMYK')
    jpeg = pillow(cmyk, 'JPEG', quality=100, icc_profile=ICC)
    world.good('profile/cmyk.jpg', decoded(jpeg), jpeg, tolerance=3)
    world.good('profile/cmyk_too.tif', np.asarray(cmyk.convert('RGB')), pillow(cmyk, 'TIFF'))
    world.bad('profile/cmyk16.tif', tiff(DEEP, photometric='separated'))
    world.bad('profile/lab16.tif', tiff(DEEP[..., :3], photometric='cielab'))


def add_turns(world: World) -> None:
    """All orientations, of 8 and 16 bits, in every format that has them."""
    for turn in range(1, 9):
        exif = camera(turn)
        pixels, deep = stored(RGB, turn), stored(DEEP[..., :3], turn)
        eight = {
            'png': pillow(pixels, 'PNG', exif=exif),
            'webp': pillow(pixels, 'WEBP', exif=exif, lossless=True),
        }
        for suffix, data in eight.items():
            world.good(f'turn/{suffix}{turn}.{suffix}', RGB, data, camera=True)
        world.good(f'turn/tif{turn}.tif', RGB, tiff(pixels, turn))
        world.good(f'turn/tif16_{turn}.tif', DEEP[..., :3], tiff(deep, turn))
        chunk = (b'eXIf', exif.tobytes().removeprefix(b'Exif\0\0'))
        world.good(f'turn/png16_{turn}.png', DEEP[..., :3], png(deep, (chunk,)), camera=True)
        jpeg = pillow(stored(SMOOTH, turn), 'JPEG', exif=exif, quality=100, subsampling=0)
        world.good(f'turn/jpg{turn}.jpg', decoded(jpeg), jpeg, tolerance=2, camera=True)


def add_sizes(world: World) -> None:
    """One pixel, one row, one column; and sizes that are only claimed."""
    for height, width in ((1, 1), (1, WIDTH), (HEIGHT, 1), (2, 3)):
        world.good(f'size/{height}x{width}.png', RGBA[:height, :width])
        world.good(f'size/deep_{height}x{width}.png', DEEP[:height, :width, :3])
    for name, size in (
        ('claims_200_megapixels', (10000, 20000)),
        ('claims_10_gigapixels', (100000,) * 2),
    ):
        world.bad(f'size/{name}_8.png', png(RGB, size=size))
        world.bad(f'size/{name}_16.png', png(DEEP[..., :3], size=size))
    world.bad('size/nothing.png', png(RGB, size=(0, WIDTH)))
    world.bad('size/rows_missing.png', png(RGB[:9], size=(HEIGHT, WIDTH)))
    world.bad('size/rows_missing_16.png', png(DEEP[:9], size=(HEIGHT, WIDTH)))
    jpeg = bytearray(pillow(SMOOTH, 'JPEG'))
    place = jpeg.index(b'\xff\xc0') + 5
    jpeg[place : place + 4] = struct.pack('>HH', 65500, 65500)
    world.bad('size/claims_4_gigapixels.jpg', bytes(jpeg))
    jpeg[place : place + 4] = struct.pack('>HH', 10000, 20000)
    world.bad('size/claims_200_megapixels.jpg', bytes(jpeg))
    bitmap = bytearray(pillow(RGB, 'BMP'))
    bitmap[18:26] = struct.pack('<ii', 20000, 10000)
    world.bad('size/claims_200_megapixels_bmp.bmp', bytes(bitmap))
    world.bad('size/claims_200_megapixels_ppm.ppm', b'P6 20000 10000 255\n' + RGB.tobytes())


def add_damage(world: World) -> None:
    """Cut, empty and foreign files, and pipes, devices and links that lead nowhere."""
    noise = np.random.default_rng(1).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    eight = (noise >> 8).astype(np.uint8)
    whole = {kind: pillow(eight, kind) for kind in ('PNG', 'JPEG', 'TIFF', 'WEBP', 'BMP', 'PPM')}
    whole['PROGRESSIVE.JPEG'] = pillow(eight, 'JPEG', progressive=True)
    whole |= {'16.PNG': png(noise), '16.TIFF': tiff(noise), '16.PPM': opencv(noise, '.ppm')}
    whole['ZIP.TIFF'] = tiff(noise, compression='zlib')
    for kind, data in whole.items():
        name, suffix = kind.lower().replace('.', '_'), kind.lower().split('.')[-1]
        for share in (10, 50, 97):
            world.bad(f'cut/{name}_{share}.{suffix}', data[: len(data) * share // 100])
    wrong = bytearray(png(eight))
    wrong[-40] ^= 255
    world.bad('cut/checksum.png', bytes(wrong))
    for name, data in (
        ('empty.png', b''),
        ('empty_too.jpg', b''),
        ('text.jpg', b'no image'),
        ('zeros.tif', bytes(999)),
    ):
        world.bad(f'bad/{name}', data)
    world.bad('bad/photo.jpg', b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(400))
    world.bad('bad/dangling.png').symlink_to('absent.png')
    world.bad('bad/loop.png').symlink_to('loop.png')
    world.bad('bad/one.png').symlink_to('two.png')
    world.bad('bad/two.png').symlink_to('one.png')
    world.path('bad/endless.png').symlink_to('/dev/zero')
    os.mkfifo(world.path('bad/pipe.png'))
    world.skipped += ['bad/endless.png', 'bad/pipe.png']
    world.bad('bad/locked.png', png(RGB)).chmod(0)


def add_names(world: World) -> None:
    """Names that files may have, and suffixes that lie."""
    for name in (
        unicodedata.normalize('NFC', 'über é.png'),
        unicodedata.normalize('NFD', 'über é.png'),
        '🦊 狐 ünï.png',
        'a b  c .png',
        'two\nlines.png',
        'tab\there.png',
        '-v.png',
        '%s {0} [a-z]* $HOME `x` "q" \'.png',
        'back\\slash.png',
        'a.b.c..png',
        'Upper.PNG',
        'Mixed.Png',
        'n' * 246 + '.png',
        '名' * 83 + '.png',
        'folder.png/inside.png',
        os.fsdecode(b'latin \xe9\xff.png'),
    ):
        world.good(f'names/{name}', RGB)
    for real, data in (('PNG', None), ('TIFF', pillow(RGB, 'TIFF')), ('BMP', pillow(RGB, 'BMP'))):
        world.good(f'names/{real}_that_lies.jpg', RGB, data)
    world.good('names/WEBP_that_lies.png', RGB, pillow(RGB, 'WEBP', lossless=True))
    jpeg = pillow(SMOOTH, 'JPEG', quality=100)
    world.good('names/JPEG_that_lies.png', decoded(jpeg), jpeg, tolerance=2)
    world.good(
        os.fsdecode(b'names/palette \xe9.png'),
        np.asarray(Image.fromarray(RGB).convert('P').convert('RGB')),
        pillow(Image.fromarray(RGB).convert('P'), 'PNG'),
    )
    for name in ('.hidden.png', '._mac.jpg', 'notes.txt', 'none', 'photo.heic'):
        world.skip(f'names/{name}')
    world.skip('names/film.gif', pillow(RGB, 'GIF'))
    world.skip('names/still.avif', b'\0\0\0\x1cftypavif')


def add_links(world: World) -> None:
    """Linked files and folders, twice the same, and a folder linked into itself."""
    outside = world.folder.parent / 'elsewhere'
    outside.mkdir()
    (outside / 'there.png').write_bytes(png(RGB))
    world.path('link/file.png').symlink_to(outside / 'there.png')
    (world.folder / 'link/again.png').hardlink_to(outside / 'there.png')
    (world.folder / 'link/folder').symlink_to(outside)
    for name in ('link/file.png', 'link/again.png', 'link/folder/there.png'):
        world.odd.append(Odd(name, RGB))
    (world.folder / 'link/round').symlink_to('..')
    (world.folder / 'link/self').symlink_to('self')
    world.skipped += ['link/round', 'link/self']


PARTS = (
    *(add_depths, add_transparency, add_profiles, add_turns, add_sizes, add_damage, add_names),
    add_links,
)


# --- The tool, and what became of each file.


def run_tool(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the tool in a process of its own, for which permissions count even if we are root."""
    command = [sys.executable, str(ROOT / 'tools/restore.py'), *map(str, arguments)]
    if os.geteuid() == 0 and shutil.which('setpriv'):
        drop = '-dac_override,-dac_read_search'
        command = ['setpriv', f'--bounding-set={drop}', f'--inh-caps={drop}', *command]
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    ended = subprocess.run(
        command,
        capture_output=True,
        env=environment,
        timeout=900,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return ended.returncode, *(os.fsdecode(text) for text in (ended.stdout, ended.stderr))


def write_network(folder: Path, name: str) -> tuple[Path, Path]:
    """A config and the weights of one of :data:`NETWORKS`."""
    matrix, offset = NETWORKS[name]
    channels = len(matrix)
    model = {
        'type': 'BaseEditModel',
        'generator': {'type': 'MixChannels', 'channels': channels},
        'pixel_loss': {'type': 'PSNRLoss'},
        'data_preprocessor': {
            'type': 'DataPreprocessor',
            'mean': [0.0] * channels,
            'std': [255.0] * channels,
        },
    }
    load = {'type': 'LoadImageFromFile', 'key': 'img', 'channel_order': 'rgb'}
    config, weights = folder / f'{name}.py', folder / f'{name}.pth'
    config.write_text(
        f"custom_imports = dict(imports=['odd_files'])\nmodel = {model}\ntest_pipeline = [{load}]\n"
    )
    values = {
        'generator.mix.weight': torch.tensor(matrix, dtype=torch.float)[..., None, None],
        'generator.mix.bias': torch.tensor(offset, dtype=torch.float),
    }
    torch.save({'state_dict': values}, weights)
    return config, weights


def fault_of(odd: Odd, network: str, source: Path, out: Path, errors: str) -> str | None:
    """What is wrong with a file's result or refusal; None if nothing is."""
    path = out / odd.result
    named = [line for line in errors.splitlines() if line.startswith(f'  {shown(source)} (')]
    if odd.pixels is None:
        if path.exists():
            return f'was restored to {cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape}'
        return None if len(named) == 1 else f'refused {len(named)} times by name'
    if named:
        return named[0]
    if not path.exists():
        return 'neither restored nor refused'
    data = path.read_bytes()
    wanted = expected(network, odd.pixels)
    width, height, bits, kind = struct.unpack('>IIBB', data[16:26])
    declared = (height, width, {0: 1, 4: 2, 2: 3, 6: 4}[kind], bits)
    if declared != (*wanted.shape, 8 * wanted.dtype.itemsize):
        return f'is {declared}, and should be {(*wanted.shape, 8 * wanted.dtype.itemsize)}'
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    found = found[..., None] if found.ndim == 2 else found
    found = found[..., {1: [0], 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[wanted.shape[-1]]]
    difference = np.abs(found.astype(int) - wanted)
    if difference.max() > odd.tolerance:
        channels = difference.max((0, 1)).tolist()
        return f'pixels differ by {channels}'
    with Image.open(io.BytesIO(data)) as image:
        if image.info.get('icc_profile') != odd.icc:
            return f'has {"another" if odd.icc else "a"} profile'
        exif = image.getexif()
    if exif.get(0x0112, 1) != 1:
        return f'is turned by {exif[0x0112]} once more'
    if exif.get(0x010F) != ('a camera' if odd.camera else None):
        return 'has other camera data'
    return None


def shown(path: Path) -> str:
    """A path as the tool prints it: on one line."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def shared_name(root: Path) -> Iterator[str]:
    """Two files whose results would have one name: refused before anything is restored."""
    for name in ('a.png', 'a.tif', 'b.png'):
        (root / name).write_bytes(png(RGB) if name.endswith('png') else tiff(RGB))
    yield from judge(root, root / 'out', 1, ['a.png', 'a.tif', 'rename'], 0)


def read_only_out(root: Path) -> Iterator[str]:
    """A folder for the results that takes none."""
    (root / 'a.png').write_bytes(png(RGB))
    (root / 'out').mkdir(mode=0o555)
    yield from judge(root, root / 'out', 2, ['out', 'cannot be written: Permission denied'], 0)


def locked_folder(root: Path) -> Iterator[str]:
    """A folder among the images that cannot be looked into."""
    (root / 'a.png').write_bytes(png(RGB))
    (root / 'locked').mkdir(mode=0)
    yield from judge(root, root / 'out', 1, ['locked', 'Permission denied'], 0)


def out_among_the_images(root: Path) -> Iterator[str]:
    """Results below the images: a second run restores the images and not the results."""
    (root / 'a.png').write_bytes(png(RGB))
    for left_out in ([], ['1 images', 'left out']):
        yield from judge(root, root / 'out', 0, ['restored: 1 of 1', *left_out], 1)


def out_is_the_images(root: Path) -> Iterator[str]:
    """Results in the place of the images."""
    (root / 'a.png').write_bytes(png(RGB))
    yield from judge(root, root, 1, ['a.png', 'overwrite an input'], 1)
    if (root / 'a.png').read_bytes() != png(RGB):
        yield 'a.png was written over'


def long_name(root: Path) -> Iterator[str]:
    """A name that leaves no room for the suffix."""
    for name in ('n' * 246, 'short'):
        (root / f'{name}.png').write_bytes(png(RGB))
    named = ['restored: 1 of 2', 'n' * 246, 'File name too long']
    yield from judge(root, root / 'out', 1, named, 1, '--suffix', '_restored')


def single_files(root: Path) -> Iterator[str]:
    """Kinds that are not looked for in folders, given one by one."""
    gif, jp2 = Image.fromarray(RGB).convert('P'), Image.fromarray(RGB)
    for name, image, options in (('a.gif', gif, {}), ('a.jp2', jp2, {'irreversible': False})):
        image.save(root / name, **options)
        yield from judge(root / name, root / 'out', 0, ['restored: 1 of 1'], 1)
        found = cv2.imread(str(root / 'out/a.png'))[..., ::-1]
        if (found != expected('mixed', np.asarray(image.convert('RGB')))).any():
            yield f'{name} came out otherwise'


def judge(
    images: Path, out: Path, code: int, named: list[str], results: int, *options: str
) -> Iterator[str]:
    """Run the tool once, and say what is otherwise than it should be."""
    root = images if images.is_dir() else images.parent
    ended, text, errors = run_tool(*write_network(root.parent, 'mixed'), images, out, *options)
    missing = [each for each in named if each not in text + errors]
    if ended != code or missing or 'Traceback' in errors:
        yield f'exit code {ended}, does not name {missing}:\n{text[-800:]}\n{errors[-1500:]}'
    found = len(list(out.glob('*.png')))
    if found != results:
        yield f'{found} results, not {results}'


CALLS = (
    *(shared_name, read_only_out, locked_folder, out_among_the_images, out_is_the_images),
    *(long_name, single_files),
)


def from_python(world: World, root: Path, network: str) -> Iterator[str]:
    """The same files through ``Restorer``, as arrays, images and tensors, and the inferencer."""
    from mmsamdistill.deploy import RestorationInferencer, Restorer

    config, weights = write_network(root, network)
    restorer = Restorer(config, weights, device='cpu')
    infer = RestorationInferencer(str(config), str(weights), 'cpu', show_progress=False)
    for odd in (each for each in world.odd if each.pixels is not None):
        path, wanted = world.folder / odd.name, expected(network, odd.pixels)
        exact = expected(network, odd.pixels, rounded=False)
        white = np.iinfo(wanted.dtype).max
        tensor = torch.from_numpy(odd.pixels.astype(np.float64) / white).permute(2, 0, 1)
        order = [2, 1, 0, 3] if wanted.shape[-1] > 2 else [0, 1]
        order = order[: wanted.shape[-1]]
        found = {
            'array': restorer(odd.pixels),
            'floats': restorer(odd.pixels / white) * white,
            'BGR': restorer(odd.pixels[..., order], channel_order='bgr')[..., order],
            'tensor': restorer(tensor).permute(1, 2, 0).numpy() * white,
            'batch': restorer(torch.stack([tensor, tensor]))[1].permute(1, 2, 0).numpy() * white,
            'list': restorer([odd.pixels, odd.pixels], batch_size=2)[1],
            'file': infer(str(path))['predictions'][0],
        }
        with Image.open(path) as image:
            if wanted.dtype == np.uint8 and image.mode not in ('I', 'F'):
                upright = ImageOps.exif_transpose(image)
                found['image'] = np.asarray(restorer(upright)).reshape(wanted.shape)
        for kind, result in found.items():
            lost = odd.tolerance if kind in ('file', 'image') else white * 1e-6
            target = wanted if result.dtype == wanted.dtype else exact
            if np.abs(np.asarray(result, float) - target).max() > lost:
                yield f'{network}: {odd.name!r} as {kind} came out otherwise'
    for odd in (each for each in world.odd if each.pixels is None):
        try:
            infer(str(world.folder / odd.name))
        except (ValueError, OSError) as error:
            if Path(odd.name).name not in str(error):
                yield f'{network}: {odd.name!r} is not named: {error}'
            continue
        if Path(odd.name).name != 'locked.png' or os.geteuid():
            yield f'{network}: {odd.name!r} was restored by the inferencer'


def restore_world(world: World, root: Path, network: str) -> Iterator[str]:
    """Restore all files by one network; yields what is wrong."""
    out = root / f'out_{network}'
    code, text, errors = run_tool(*write_network(root, network), world.folder, out)
    bad = [odd for odd in world.odd if odd.pixels is None]
    if code != bool(bad):
        yield f'{network}: exit code {code}:\n{errors[-1500:]}'
        return
    if not out.exists() and len(bad) < len(world.odd):
        yield f'{network}: nothing was restored:\n{errors[-1500:]}'
        return
    good = len(world.odd) - len(bad)
    for sentence in (
        f'restored: {good} of {len(world.odd)} images',
        f'skipped {len(world.skipped)} file',
    ):
        if sentence not in text and not (sentence.startswith('skipped') and not world.skipped):
            yield f'{network}: does not say {sentence!r}:\n{text[-1500:]}'
    for odd in world.odd:
        fault = fault_of(odd, network, world.folder / odd.name, out, errors)
        if fault:
            yield f'{network}: {odd.name!r} {fault}'
    wanted = {out / odd.result for odd in world.odd if odd.pixels is not None}
    found = {path for path in out.rglob('*') if not path.is_dir()}
    for path in sorted(found ^ wanted, key=str):
        if path in found:
            yield f'{network}: {path} was written besides'


def main() -> int:
    """Make the folder, restore it by every network, print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', default='', help='parts of the folder whose name contains this')
    parser.add_argument('--networks', nargs='+', choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument('--keep', type=Path, help='empty folder to work in, which is kept')
    args = parser.parse_args()
    faults: list[str] = []

    def note(found: Iterable[str], where: str = '') -> None:
        for fault in found:
            print((where + fault).encode(errors='backslashreplace').decode(), flush=True)
            faults.append(fault)

    with tempfile.TemporaryDirectory() as name:
        root = args.keep or Path(name)
        world = World(root / 'odd')
        world.folder.mkdir(parents=True)
        for part in (each for each in PARTS if args.only in each.__name__):
            part(world)
        for network in args.networks if world.odd else ():
            note(restore_world(world, root, network))
            note(from_python(world, root, network))
        for call in CALLS:
            if args.only in call.__name__:
                (root / call.__name__).mkdir()
                note(call(root / call.__name__), f'{call.__name__}: ')
    refused = sum(odd.pixels is None for odd in world.odd)
    print(
        f'{len(world.odd)} files by {len(args.networks)} networks: {len(world.odd) - refused} '
        f'restored, {refused} refused by name, {len(faults)} faults'
    )
    return int(bool(faults))


if __name__ == '__main__':
    sys.exit(main())
