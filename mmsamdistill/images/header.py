"""What an image file says of itself, and what is too large: read before anything is decoded."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmsamdistill.images.jpeg import jpeg_is_whole

# How a whole file ends, if nothing was appended to it.
_ENDS = {'PNG': b'IEND\xaeB`\x82', 'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9'}
_TAIL = 4096
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
MAX_PIXELS = 1 << 29
"""Half of what OpenCV decodes at all: 512 megapixels, of which a label map takes 2 GiB."""
_TAG = 0x0112
_TRANSPOSED = (5, 6, 7, 8)
_UNDONE_BY = {6: 8, 8: 6}


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded."""

    stored: tuple[int, int]  # height and width of the pixels as stored
    grey: bool  # of one channel
    alpha: bool  # with transparency
    deep: bool  # of more than 8 bits a channel
    orientation: int = 1  # how OpenCV turns it, 1 to 8

    @property
    def channels(self) -> int:
        """Channels that OpenCV gives of it unchanged: it has no grey with transparency."""
        return 4 if self.alpha else 1 if self.grey else 3

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, turned as the camera says."""
        return self.stored[::-1] if is_transposed(self.orientation) else self.stored

    def remark(self) -> str:
        """What a loader of 8-bit colour images changes silently; empty for such an image."""
        kinds = {'grey': self.grey, 'alpha': self.alpha, 'more than 8 bits': self.deep}
        return ', '.join(kind for kind, is_so in kinds.items() if is_so)


def read_header(source: str | Path | bytes) -> ImageHeader:
    """Read an image's header, from a path or from a file's content, and whether it is whole.

    A PNG or JPEG must end as such files do: the usual damage is a copy that was interrupted.
    Damage in the middle shows only when the image is decoded.
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source))
    with open(source, 'rb') as file:
        return _read(file)


def _read(file: BinaryIO) -> ImageHeader:
    try:
        image = Image.open(file)
        orientation = orientation_of(image)
        # A 16-bit colour image opens as 'RGB'; only the decoder's settings show what it holds.
        deep = image.mode[:1] in ('I', 'F') or any(';16' in str(tile[3]) for tile in image.tile)
    except UnidentifiedImageError:
        raise ValueError('it is empty or no image') from None
    except Image.DecompressionBombError as error:
        raise ValueError(f'it is too large, cut it: {error}') from error
    # Pillow's readers of broken files end in errors of any kind.
    except Exception as error:
        raise ValueError(f'it is damaged: {error}') from error
    check_pixels(image.height, image.width, 'it')
    header = ImageHeader(
        stored=(image.height, image.width),
        grey=image.mode[:1] in ('1', 'L', 'I', 'F') and not image.mode.startswith('LAB'),
        alpha=image.mode in ('LA', 'PA', 'RGBA', 'La', 'RGBa') or 'transparency' in image.info,
        deep=deep,
        orientation=orientation,
    )
    _check_end(file, image.format)
    return header


def _check_end(file: BinaryIO, kind: str | None) -> None:
    mark = _ENDS.get(kind or '')
    if mark is None:
        return
    length = file.seek(0, io.SEEK_END)
    file.seek(max(0, length - _TAIL))
    if file.read().rstrip(b'\0').endswith(mark):
        return
    # Something was appended, or it is cut off: the whole file tells.
    file.seek(0)
    data = file.read()
    if not (mark in data if kind == 'PNG' else jpeg_is_whole(data)):
        raise ValueError('it ends too early')


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk as it stands in the file."""
    check = zlib.crc32(kind + content)
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', check)


def png_chunks(data: bytes, path: str | Path) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk up to the end mark; ValueError for a wrong checksum."""
    if not data.startswith(PNG_SIGNATURE):
        raise ValueError(f'{path} is damaged or no PNG')
    position = len(PNG_SIGNATURE)
    kind = b''
    while kind != b'IEND':
        header = data[position : position + 8]
        length = struct.unpack('>I', header[:4])[0] if len(header) == 8 else 0
        end = position + 12 + length
        if len(header) < 8 or end > len(data):
            raise ValueError(f'{path} is damaged: it ends too early')
        kind, content = header[4:], data[position + 8 : end - 4]
        if zlib.crc32(kind + content) != struct.unpack('>I', data[end - 4 : end])[0]:
            raise ValueError(f'{path} is damaged: wrong checksum')
        yield kind, content
        position = end


def png_size(chunk: tuple[bytes, bytes], path: str | Path) -> tuple[int, int]:
    """Height and width that a PNG's first chunk declares, in bounds."""
    kind, header = chunk
    if kind != b'IHDR' or len(header) != 13:
        raise ValueError(f'{path} is damaged or no PNG: it does not begin with a header')
    width, height = struct.unpack('>II', header[:8])
    check_pixels(height, width, path)
    return height, width


def check_pixels(height: int, width: int, path: str | Path) -> None:
    """Refuse an image that claims more than :data:`MAX_PIXELS`, or none at all."""
    if min(height, width) < 1:
        raise ValueError(f'{path} is damaged: it claims to be {height} x {width} pixels')
    if height * width > MAX_PIXELS:
        raise ValueError(
            f'{path} claims to be {height} x {width} pixels, over {MAX_PIXELS:,}: is it damaged?'
        )


def orientation_of(image: Image.Image) -> int:
    """The turn, 1 to 8, that OpenCV makes when it loads an opened image; 1 for none."""
    kind = 'JPEG' if image.format == 'MPO' else image.format
    if kind not in ('JPEG', 'PNG', 'WEBP') or not _opencv_turns(kind):
        return 1
    found = Image.Exif()
    try:
        # Not image.getexif(), which also believes descriptions that OpenCV does not read.
        found.load(image.info.get('exif', b''))
        turn = found.get(_TAG, 1)
    # Pillow's readers of broken entries end in errors of any kind; OpenCV takes those for none.
    except Exception:
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def read_orientation(path: str | Path) -> int:
    """As :func:`orientation_of`, of a file."""
    with Image.open(path) as image:
        return orientation_of(image)


def is_transposed(orientation: int) -> bool:
    """Whether a turn exchanges height and width."""
    return orientation in _TRANSPOSED


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """From the upright image to the pixels as stored; the inverse of :func:`turned`."""
    return turned(pixels, _UNDONE_BY.get(orientation, orientation))


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels as the EXIF standard's orientation tag says."""
    if orientation in _TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def ignores_orientation(color_type: str) -> bool:
    """Whether MMagic's loader leaves the pixels as they are stored."""
    return color_type == 'unchanged' or color_type.endswith('_ignore_orientation')


@cache
def _opencv_turns(kind: str) -> bool:
    """Whether this version of OpenCV turns images of a format: asked, since versions differ."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[_TAG] = 6
    Image.new('RGB', (2, 1)).save(stream, kind, exif=exif)
    decoded = cv2.imdecode(np.frombuffer(stream.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return decoded is not None and decoded.shape[:2] == (2, 1)
