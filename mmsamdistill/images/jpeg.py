"""Whether a JPEG is whole, whatever a camera has put behind it.

Decoders do not tell: where data are missing or make no sense, OpenCV and Pillow fill in grey or
stripes. What a file consists of is followed here; what it decodes to is judged by libjpeg's
warnings, which simplejpeg alone passes on.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

JPEG_SIGNATURE = b'\xff\xd8'
# Ends a scan: a marker that is neither an escaped 0xFF, nor a restart, nor padding.
_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
_QUANTISATION, _HUFFMAN, _SCAN, _END = 0xDB, 0xC4, 0xDA, 0xD9
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Lost pieces of a file are read as zeros; no encoder writes so many within a scan.
_LOST = bytes(32)
# Cameras pad with a few bytes in front of the last mark.
_PADDED = re.compile(r'\b[1-4] extraneous bytes before marker 0xd9')
_DAMAGE = re.compile(r'Corrupt JPEG data|Premature end|Bogus|was not defined')


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    r"""Marker, content and, of a scan, the coded data of each segment, up to the end mark.

    A thumbnail within the header has an end mark of its own, and a film that a camera appended may
    hold the same bytes by chance: so the segments are followed from the first one on. Without an
    end mark, the last one yielded is another.
    """
    position = len(JPEG_SIGNATURE)
    found = _MARKER.search(data, position)
    while found is not None:
        marker = data[found.start() + 1]
        if marker == _END:
            yield marker, b'', b''
            return
        # The length of a segment counts its own two bytes.
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], 'big')
        after = _MARKER.search(data, position)
        coded = data[position : after.start()] if after and marker == _SCAN else b''
        yield marker, data[found.end() + 2 : position], coded
        found = after


def jpeg_is_whole(data: bytes) -> bool:
    """Whether the image itself, not what is behind it, has its end mark."""
    return any(marker == _END for marker, *_ in jpeg_segments(data))


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width as declared, not turned; None if the file does not say."""
    for marker, content, _ in jpeg_segments(data):
        if marker in _FRAMES and len(content) >= 5:
            return struct.unpack('>HH', content[1:5])
    return None


def check_jpeg(data: bytes, path: str | Path) -> None:
    """Refuse a JPEG that is cut off, or damaged in its middle, with a ValueError.

    Not every damage can be seen: a changed byte may decode to another valid image.
    """
    if not jpeg_is_whole(data):
        raise ValueError(f'{path} is damaged: it ends too early')
    if _has_lost_pieces(data):
        raise ValueError(f'{path} is damaged: a piece of it is missing and reads as zeros')
    warning = _warning_of_libjpeg(data)
    if warning:
        raise ValueError(f'{path} is damaged: {warning}')


def _has_lost_pieces(data: bytes) -> bool:
    progressive = False
    zero_codes: dict[int, int] = {}
    for marker, content, coded in jpeg_segments(data):
        if marker in _FRAMES:
            progressive = marker in _PROGRESSIVE
        elif marker == _QUANTISATION and _has_zero_step(content):
            return True
        elif marker == _HUFFMAN:
            zero_codes.update(_meaning_of_zeros(content))
        elif marker == _SCAN and _LOST in coded:
            is_lost = not _may_be_zeros(content, progressive, zero_codes)
            if is_lost:
                return True
    return False


def _may_be_zeros(scan: bytes, progressive: bool, zero_codes: dict[int, int]) -> bool:
    """Whether many zeros in a scan can be a plain area: its codes are 0 = nothing follows."""
    count = scan[0] if scan else 0
    if len(scan) != 4 + 2 * count:
        return True
    tables = [scan[2 + 2 * place] for place in range(count)]
    first, refined = scan[-3], scan[-1] >> 4
    if progressive and first > 0:
        return False  # a run of empty blocks has one code, which is not zero
    if progressive:
        return bool(refined) or all(zero_codes.get(each >> 4) == 0 for each in tables)
    return all(zero_codes.get(0x10 | each & 15) == 0 for each in tables)


def _meaning_of_zeros(content: bytes) -> Iterator[tuple[int, int]]:
    """By Huffman table, the symbol of its code of zeros alone: the first one."""
    position = 0
    while position + 17 < len(content):
        yield content[position], content[position + 17]
        position += 17 + sum(content[position + 1 : position + 17])


def _has_zero_step(content: bytes) -> bool:
    position = 0
    while position < len(content):
        width = 2 if content[position] >> 4 else 1
        steps = content[position + 1 : position + 1 + 64 * width]
        if any(not any(steps[place : place + width]) for place in range(0, len(steps), width)):
            return True
        position += 1 + 64 * width
    return False


def _warning_of_libjpeg(data: bytes) -> str:
    try:
        import simplejpeg
    except ImportError:  # no wheel for this machine: the checks above remain
        return ''
    try:
        # All codes are read, but only an eighth of the pixels is computed.
        simplejpeg.decode_jpeg(data, 'GRAY', min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        message = str(error)
        if _DAMAGE.search(message) and not _PADDED.search(message):
            return message
    return ''
