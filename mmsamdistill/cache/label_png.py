"""Writing and reading label maps as PNG several times faster than a general decoder.

Reading a map must cost next to nothing beside decoding a photograph. PNG's filters predict smooth
shades; labels are not smooth, so filtering them makes files larger and has to be undone byte by
byte. Unfiltered rows are inflated and are there: a third of the time, in smaller files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np

from mmsamdistill.images.png import PNG_SIGNATURE

_HEADER = struct.Struct('>IIBBBBB')
_LEVEL = 6
_SAMPLES = {8: 'u1', 16: '>u2'}


def encode_labels(labels: np.ndarray, bits: int = 16) -> bytes:
    """An ``(H, W)`` map as a greyscale PNG without filters, which every decoder of PNG reads."""
    height, width = labels.shape
    samples = np.ascontiguousarray(labels, _SAMPLES[bits]).view(np.uint8).reshape(height, -1)
    rows = np.pad(samples, ((0, 0), (1, 0)))  # the first byte of a row: no filter
    # Greyscale, the only compression and filtering that there is, not interlaced.
    header = _HEADER.pack(width, height, bits, 0, 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(rows, _LEVEL)), (b'IEND', b''))
    return PNG_SIGNATURE + b''.join(_chunk(*each) for each in chunks)


def decode_labels(chunks: Iterable[tuple[bytes, bytes]]) -> np.ndarray | None:
    """Decode a map that :func:`encode_labels` wrote, from its verified chunks."""
    chunks = list(chunks)
    content = dict(chunks)
    data = [each for kind, each in chunks if kind == b'IDAT']
    if len(data) != 1 or len(content.get(b'IHDR', b'')) != _HEADER.size:
        return None
    width, height, bits, *kind = _HEADER.unpack(content[b'IHDR'])
    if bits not in _SAMPLES or kind != [0, 0, 0, 0] or not width or not height:
        return None
    length = height * (1 + width * bits // 8)
    try:
        # Without zlib's own checksum of the content: the chunk's has been verified, and computing
        # a second one takes as long as inflating.
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        flat = inflating.decompress(_deflated(data[0]), length + 1)
    except zlib.error:
        return None
    if len(flat) != length or not inflating.eof:
        return None
    rows = np.frombuffer(flat, np.uint8).reshape(height, -1)
    if rows[:, 0].any():
        return None
    return rows[:, 1:].view(_SAMPLES[bits]).astype(np.int32)


def _deflated(stream: bytes) -> memoryview:
    """What is between a zlib stream's two bytes of header and four of checksum."""
    if len(stream) < 6 or stream[0] & 0x0F != 8 or stream[1] & 0x20:
        raise zlib.error('no zlib stream without dictionary')
    return memoryview(stream)[2:-4]


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', check)
