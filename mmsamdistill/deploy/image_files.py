"""From image files to restored image files: depth, transparency, colour profile, orientation."""

import contextlib
import io
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmsamdistill.arguments import check_number
from mmsamdistill.deploy.kinds import pillow_bytes
from mmsamdistill.deploy.restorer import Restorer
from mmsamdistill.files import write_atomically
from mmsamdistill.images import check_whole, decode_image
from mmsamdistill.images.header import PNG_SIGNATURE, check_pixels, png_chunk, turned

_ORIENTATION, _BITS, _MEANING, _PLANES = 0x0112, 258, 262, 284
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: what PNG calls them


@dataclass
class Picture:
    """A decoded image, upright."""

    pixels: np.ndarray  # (H, W, C) uint8 or uint16; grey, grey with alpha, RGB or RGB with alpha
    icc: bytes | None = None  # colour profile, if any
    exif: bytes | None = None  # camera data without the orientation, which has been applied
    notes: list[str] = field(default_factory=list)  # what the file has and a result cannot keep


def restore_files(
    restorer: Restorer,
    results: Mapping[Path, Path],
    notes: dict[str, list[Path]] | None = None,
    batch_size: int = 1,
) -> Iterator[tuple[Path, Exception | None]]:
    """Restore image files to PNG; yields each when it is done, and why it failed, if it did.

    ``results`` says where each goes; ``notes`` gets what results cannot keep, with the files.
    """
    check_number(1, batch_size=batch_size)
    notes = {} if notes is None else notes
    read = (_try_to_read(path) for path in results)
    for _, run in groupby(read, lambda pair: _likeness(pair[1])):
        while part := list(islice(run, batch_size)):
            for path, outcome in _restore_part(restorer, part):
                try:
                    if isinstance(outcome, Exception):
                        raise outcome
                    write_atomically(results[path], encode_png(outcome))
                except Exception as error:  # whatever it is, the other files go on
                    yield path, error
                    continue
                for note in outcome.notes:
                    notes.setdefault(note, []).append(path)
                yield path, None


def restore_file(restorer: Restorer, path: Path, result: Path) -> None:
    """Restore one image file, or say why not."""
    for _, error in restore_files(restorer, {path: result}):
        if error is not None:
            raise error


def _restore_part(
    restorer: Restorer, part: list[tuple[Path, Any]]
) -> Iterable[tuple[Path, Picture | Exception]]:
    if any(isinstance(outcome, Exception) for _, outcome in part):
        return part
    try:
        pixels = restorer([picture.pixels for _, picture in part], batch_size=len(part))
    except Exception as error:
        if len(part) == 1:
            return [(part[0][0], error)]
        # One of them is at fault: each for itself.
        return [each for one in part for each in _restore_part(restorer, [one])]
    for (_, picture), restored in zip(part, pixels, strict=True):
        picture.pixels = restored
    return part


def _try_to_read(path: Path) -> tuple[Path, Picture | Exception]:
    try:
        return path, read_picture(path)
    except Exception as error:
        return path, error


def _likeness(outcome: Picture | Exception) -> tuple:
    if isinstance(outcome, Exception):
        return ('failed', id(outcome))
    return outcome.pixels.shape, outcome.pixels.dtype


def read_picture(path: str | Path) -> Picture:
    """Read an image file with all that belongs to it; a damaged one is an error."""
    data = Path(path).read_bytes()
    check_whole(data, path)
    with _any_size():
        try:
            with Image.open(io.BytesIO(data)) as image:
                check_pixels(image.height, image.width, path)
                return _decode(image, data, path)
        except UnidentifiedImageError:
            raise ValueError(f'{path} is no image, or of a kind that cannot be read') from None
        except (OSError, SyntaxError, EOFError, struct.error, zlib.error) as error:
            raise ValueError(f'{path} is damaged or no image: {error}') from error


def encode_png(picture: Picture) -> bytes:
    """Write a picture as PNG: 8 or 16 bits, with its transparency, profile and camera data."""
    height, width, channels = picture.pixels.shape
    bits = picture.pixels.dtype.itemsize * 8
    samples = np.ascontiguousarray(picture.pixels, '>u2' if bits == 16 else 'u1')
    rows = samples.view(np.uint8).reshape(height, -1)
    # Each row as its difference from the one above, which compresses photographs well.
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack('>IIBBBBB', width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [(b'IHDR', header)]
    if picture.icc:
        chunks.append((b'iCCP', b'profile\0\0' + zlib.compress(picture.icc)))
    if picture.exif:
        chunks.append((b'eXIf', picture.exif))
    chunks += [(b'IDAT', zlib.compress(filtered, 4)), (b'IEND', b'')]
    return PNG_SIGNATURE + b''.join(png_chunk(*each) for each in chunks)


def _decode(image: Image.Image, data: bytes, path: str | Path) -> Picture:
    notes = _what_is_lost(image)
    icc = image.info.get('icc_profile') if image.mode not in ('CMYK', 'LAB') else None
    if image.format in ('JPEG', 'MPO'):
        # As MMagic loads it in tests; upright already.
        pixels = decode_image(data, path)
        pixels = pixels[..., :1] if image.mode == 'L' else pixels
    elif _is_deep(image, data):
        pixels = _decode_deep(image, data, path)
        # OpenCV turns what is turned in a TIFF by itself.
        if image.format != 'TIFF':
            pixels = _upright(pixels, image)
    else:
        # Pillow turns a TIFF while loading it, and takes the tag out.
        pixels = _upright(pillow_bytes(image), image)
        _require_rows(image, data, path)
    return Picture(np.ascontiguousarray(pixels), icc, _camera_data(image), notes)


def _is_deep(image: Image.Image, data: bytes) -> bool:
    if image.format == 'PNG':
        return data[24] == 16
    if image.format == 'TIFF':
        return max(getattr(image, 'tag_v2', {}).get(_BITS, (8,))) > 8
    if image.format == 'PPM':
        header = re.sub(rb'#[^\n]*', b'', data[:1000]).split()[:4]
        return len(header) == 4 and header[3].isdigit() and int(header[3]) > 255
    return image.mode.startswith(('I', 'F'))


def _decode_deep(image: Image.Image, data: bytes, path: str | Path) -> np.ndarray:
    """By OpenCV, since Pillow has no colours of 16 bits."""
    tags = getattr(image, 'tag_v2', {})
    # OpenCV reads these otherwise than they are meant.
    if tags.get(_PLANES, 1) != 1 or tags.get(_MEANING, 1) not in (1, 2):
        raise ValueError(
            f'{path} has 16 bits in separate planes, inverted or in other colours than RGB: '
            'convert it to plain grey or RGB'
        )
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f'{path} is damaged or of a kind that cannot be read')
    if pixels.dtype != np.uint16:
        raise ValueError(f'{path} has pixels of {pixels.dtype}: 8 and 16 bits can be restored')
    if pixels.ndim == 2:
        pixels, key = pixels[..., None], image.info.get('transparency')
        alpha = [] if key is None else [np.where(pixels == key, np.uint16(0), np.uint16(65535))]
        return np.concatenate([pixels, *alpha], -1)
    pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]]
    grey_with_alpha = data.startswith(PNG_SIGNATURE) and data[25] == 4
    return pixels[..., 2:] if grey_with_alpha else pixels


def _require_rows(image: Image.Image, data: bytes, path: str | Path) -> None:
    """Pillow leaves black what a PNG declares and does not have; libpng alone says so."""
    if image.format != 'PNG':
        return
    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) is None:
        raise ValueError(f'{path} is damaged: it has fewer rows than it declares')


def _what_is_lost(image: Image.Image) -> list[str]:
    notes = []
    if getattr(image, 'n_frames', 1) > 1:
        notes.append('pages or frames beyond the first are left out')
    if image.mode in ('CMYK', 'LAB', 'HSV'):
        notes.append(f'{image.mode} becomes RGB, without its colour profile')
    if image.mode in ('P', 'PA', '1'):
        notes.append('palettes and black and white become shades of 8 bits')
    if 'xmp' in image.info or 'comment' in image.info:
        notes.append('comments and XMP are not kept')
    return notes


def _camera_data(image: Image.Image) -> bytes | None:
    exif = image.getexif()
    # A TIFF's tags describe the file itself.
    if not exif or image.format == 'TIFF':
        return None
    exif[_ORIENTATION] = 1
    return exif.tobytes().removeprefix(b'Exif\0\0')


def _upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    return turned(pixels, image.getexif().get(_ORIENTATION, 1))


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Without Pillow's own limit: ours is another, and stands in one place."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
