"""Reading an image file so that damage is an error: every reader of the package goes this way."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmsamdistill.images.header import MAX_PIXELS, PNG_SIGNATURE, check_pixels, png_chunks, png_size
from mmsamdistill.images.jpeg import JPEG_SIGNATURE, check_jpeg, jpeg_size


def check_whole(data: bytes, path: str | Path) -> None:
    """Refuse an image that is damaged, as far as that can be seen, or unreasonably large.

    Decoders fill in what is missing. A PNG's checksums and a JPEG's structure, codes and
    libjpeg's warnings are looked at; of other formats, Pillow has to find as much as is declared.
    """
    if not data:
        raise ValueError(f'{path} is damaged: it is empty')
    if data.startswith(PNG_SIGNATURE):
        first, *_ = png_chunks(data, path)  # all of them, since each has a checksum
        png_size(first, path)
    elif data.startswith(JPEG_SIGNATURE):
        check_pixels(*(jpeg_size(data) or (1, 1)), path)
        check_jpeg(data, path)
    else:
        _check_by_pillow(data, path)


def decode_image(data: bytes, path: str | Path) -> np.ndarray:
    """Decode an image as MMagic's loader does by default, turned as its camera says."""
    check_whole(data, path)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f'{path} cannot be read as an image: {error}') from error
    if pixels is None:
        raise ValueError(f'{path} cannot be read as an image')
    return np.ascontiguousarray(pixels[..., ::-1])


def _check_by_pillow(data: bytes, path: str | Path) -> None:
    size = (1, 1)
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = (image.height, image.width)
            if image.height * image.width <= MAX_PIXELS:
                image.load()
    except Image.DecompressionBombError as error:
        raise ValueError(f'{path} is too large, cut it: {error}') from error
    except UnidentifiedImageError:
        return  # of a kind that Pillow does not know: the decoder has the last word
    # Pillow's readers of broken files end in errors of any kind.
    except Exception as error:
        raise ValueError(f'{path} is damaged: {error}') from error
    check_pixels(*size, path)
