"""A PNG's chunks, written, and verified before anything is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'


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


def check_png(data: bytes, path: str | Path) -> None:
    """Refuse a PNG that is truncated or whose checksums are wrong."""
    for _ in png_chunks(data, path):
        pass
