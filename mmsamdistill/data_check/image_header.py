"""Size, channels and depth of an image file, without decoding it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from mmsamdistill.cache.jpeg import jpeg_is_whole

_ORIENTATION = 0x0112
_TURNED = {5, 6, 7, 8}
# How a whole file ends, if nothing was appended to it.
_ENDS = {'PNG': b'IEND\xaeB`\x82', 'JPEG': b'\xff\xd9'}
_TAIL = 4096


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded.

    Attributes:
        height: Pixels, as MMagic's loader turns the image.
        width: Pixels, as MMagic's loader turns the image.
        grey: One channel.
        alpha: With transparency.
        deep: More than 8 bits a channel.

    Example:
        >>> ImageHeader(2, 3, grey=True, alpha=False, deep=True).remark()
        'grey, more than 8 bits'
    """

    height: int
    width: int
    grey: bool
    alpha: bool
    deep: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def remark(self) -> str:
        """What a loader of 8-bit colour images changes silently; empty for such an image."""
        kinds = {'grey': self.grey, 'alpha': self.alpha, 'more than 8 bits': self.deep}
        return ', '.join(kind for kind, is_so in kinds.items() if is_so)


def read_header(source: str | Path | bytes) -> ImageHeader:
    """Read an image's header, and see whether the file is whole.

    A PNG or JPEG must end as such files do: the usual damage is a copy that was interrupted.
    Damage in the middle shows only when the image is decoded.

    Args:
        source: Path of a file, or a file's content.

    Returns:
        The header.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, no image, or ends too early.

    Example:
        >>> import cv2, numpy as np
        >>> png = cv2.imencode('.png', np.zeros((4, 6, 3), np.uint8))[1].tobytes()
        >>> read_header(png).size, read_header(png).remark()
        ((4, 6), '')
        >>> read_header(png[:-20])
        Traceback (most recent call last):
        ValueError: it ends too early

    Source: ours.
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source))
    with open(source, 'rb') as file:
        return _read(file)


def _read(file: BinaryIO) -> ImageHeader:
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        raise ValueError('it is empty or no image') from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f'it is damaged: {error}') from error
    width, height = image.size
    # Loaders turn a photograph as the camera says. For other formats Pillow would have to decode.
    if image.format == 'JPEG' and image.getexif().get(_ORIENTATION) in _TURNED:
        width, height = height, width
    # A 16-bit colour image opens as 'RGB'; only the decoder's settings show what is in the file.
    deep = image.mode[:1] in ('I', 'F') or any(';16' in str(tile[3]) for tile in image.tile)
    header = ImageHeader(
        height=height,
        width=width,
        grey=image.mode[:1] in ('1', 'L', 'I', 'F'),
        alpha=image.mode in ('LA', 'PA', 'RGBA', 'La', 'RGBa') or 'transparency' in image.info,
        deep=deep,
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
    if not (jpeg_is_whole(data) if kind == 'JPEG' else mark in data):
        raise ValueError('it ends too early')
