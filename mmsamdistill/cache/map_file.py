"""One region map on disk: a PNG of 8 or 16 bits that carries its own provenance.

Map and provenance are one file, written by one rename: whatever kills the writer, an entry of a
cache is either there, whole and with its record, or not there. No separate book-keeping can
disagree with it, and any number of processes can write into one folder without a lock.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmsamdistill.cache.label_png import decode_labels, encode_labels
from mmsamdistill.files import write_atomically
from mmsamdistill.regions.masks import compact_labels

MAX_REGIONS = 65535
_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_KEYWORD = b'mmsamdistill\x00'


def write_map(path: str | Path, labels: np.ndarray, record: dict[str, Any]) -> None:
    """Write a label map with its record, atomically.

    Args:
        path: Where to write; parent folders are made.
        labels: The map, integers from 0, without gaps (see :func:`compact_for_storage`).
        record: Where the map comes from, as plain JSON types. Without a time in it, equal maps
            give equal files.

    Shape:
        - labels: ``(H, W)``

    Raises:
        ValueError: If a label does not fit into 16 bits, or the array is not a map.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_map(Path(folder, 'a.png'), np.array([[0, 1]]), {'regions': 1})
        ...     read_map(Path(folder, 'a.png')).tolist(), read_record(Path(folder, 'a.png'))
        ([[0, 1]], {'regions': 1})

    Source: ours.
    """
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in 'iu':
        raise ValueError(f'a label map is (H, W) integers, got {labels.dtype} {labels.shape}')
    if labels.min() < 0 or labels.max() > MAX_REGIONS:
        raise ValueError(
            f'labels must lie in 0..{MAX_REGIONS} to fit into a 16-bit PNG, got '
            f'{labels.min()}..{labels.max()}; merge regions or use a coarser source'
        )
    # Half the bytes are inflated in less than half the time, and few SAM maps need more.
    bits = 8 if labels.max() < 256 else 16
    write_atomically(path, _insert_record(encode_labels(labels, bits), record))


def compact_for_storage(labels: np.ndarray) -> np.ndarray:
    """Renumber the labels to ``1..K``, so that 16 bits hold any map of up to 65,535 regions.

    Args:
        labels: A map of any integer dtype, at least 0; 0 is "no region" and stays 0.

    Shape:
        - labels: ``(H, W)``

    Returns:
        The renumbered map, int64.

    Example:
        >>> compact_for_storage(np.array([[0, 70000, 9]])).tolist()
        [[0, 2, 1]]

    Source: ours.
    """
    return compact_labels(np.asarray(labels).astype(np.int64))


def read_map(path: str | Path) -> np.ndarray:
    """Read a label map; a damaged file is an error, never a map with holes.

    Args:
        path: A single-channel PNG of 8 or 16 bits. A record in it is not needed: maps made by
            other means are welcome.

    Returns:
        ``(H, W)`` int32 labels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or no label map.

    Source: ours.
    """
    data = Path(path).read_bytes()
    # Decoders differ in what they make of a truncated file; some fill up with zeros.
    labels = decode_labels(_chunks(data, path))
    if labels is not None:
        return labels
    # Made by other means.
    labels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise ValueError(f'{path} is damaged: it cannot be decoded')
    if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f'{path} is no label map: expected one channel of 8 or 16 bits, got '
            f'{labels.dtype} {labels.shape}'
        )
    return labels.astype(np.int32)


def read_record(path: str | Path) -> dict[str, Any] | None:
    """Read where a map comes from, without decoding it.

    Args:
        path: A PNG.

    Returns:
        The record, or None if the file has none: it was not written by this package.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged.

    Source: ours.
    """
    found = None
    for kind, content in _chunks(Path(path).read_bytes(), path):
        if kind == b'tEXt' and content.startswith(_KEYWORD):
            found = json.loads(content[len(_KEYWORD) :])
    return found


def check_png(data: bytes, path: str | Path) -> None:
    """Refuse a PNG that is truncated or whose checksums are wrong.

    Args:
        data: The file's content.
        path: Its path, for the message.

    Raises:
        ValueError: If the file is damaged.

    Source: ours.
    """
    for _ in _chunks(data, path):
        pass


def _insert_record(png: bytes, record: dict[str, Any]) -> bytes:
    """Put a text chunk after the header chunk, which is always first and 25 bytes long."""
    text = json.dumps(record, sort_keys=True, separators=(',', ':'), ensure_ascii=True)
    body = b'tEXt' + _KEYWORD + text.encode('latin-1')
    chunk = struct.pack('>I', len(body) - 4) + body + struct.pack('>I', zlib.crc32(body))
    split = len(_SIGNATURE) + 25
    return png[:split] + chunk + png[split:]


def _chunks(data: bytes, path: str | Path) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk up to the end mark, checksums verified."""
    if not data.startswith(_SIGNATURE):
        raise ValueError(f'{path} is damaged or no PNG')
    position = len(_SIGNATURE)
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
