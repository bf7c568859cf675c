"""Size, channels and depth of an image file, without decoding it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from mmsamdistill.images.jpeg import jpeg_is_whole
from mmsamdistill.images.limits import check_pixels
from mmsamdistill.images.orientation import is_transposed, orientation_of

# How a whole file ends, if nothing was appended to it.
_ENDS = {'PNG': b'IEND\xaeB`\x82', 'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9'}
_TAIL = 4096


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded.

    Attributes:
        height: Pixels, as stored.
        width: Pixels, as stored.
        grey: One channel.
        alpha: With transparency.
        deep: More than 8 bits a channel.
        orientation: How OpenCV turns it, 1 to 8.
    """

    height: int
    width: int
    grey: bool
    alpha: bool
    deep: bool
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width of the pixels as stored."""
        return self.height, self.width

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
        height=image.height,
        width=image.width,
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
