"""One region map on disk: a PNG of 8 or 16 bits that carries its own provenance.

Map and provenance are one file, written by one rename: whatever kills the writer, an entry of a
cache is either there, whole and with its record, or not there. No separate book-keeping can
disagree with it, and any number of processes can write into one folder without a lock.

Reading a map must cost next to nothing beside decoding a photograph: the rows are unfiltered, so
they are inflated and are there, a third of the time of a general decoder, from smaller files.
"""

import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmsamdistill.fast_sam.results import run_lengths
from mmsamdistill.files import parse_json, write_atomically
from mmsamdistill.images.header import PNG_SIGNATURE, check_pixels, png_chunk, png_chunks, png_size
from mmsamdistill.regions.masks import compact_labels

MAX_REGIONS = 65535
_KEYWORD = b'mmsamdistill\x00'
_HEADER = struct.Struct('>IIBBBBB')
_LEVEL = 9  # 40 ms a megapixel, once, and a third less to inflate in every step than level 6
_SAMPLES = {8: 'u1', 16: '>u2'}
MASK_SUFFIX = '.masks.json'
# All masks of a file together, a byte a pixel: as much as a large photograph has masks.
_MAX_BYTES = 1 << 33


def write_map(path: str | Path, labels: np.ndarray, record: dict[str, Any]) -> None:
    """Write an ``(H, W)`` label map without gaps, with where it comes from, atomically."""
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in 'iu':
        raise ValueError(f'a label map is (H, W) integers, got {labels.dtype} {labels.shape}')
    if labels.min() < 0 or labels.max() > MAX_REGIONS:
        raise ValueError(
            f'labels {labels.min()}..{labels.max()} do not fit into 0..{MAX_REGIONS}; merge regions'
        )
    # Half the bytes are inflated in less than half the time, and few SAM maps need more.
    bits = 8 if labels.max() < 256 else 16
    write_atomically(path, encode_labels(labels, bits, record))


def compact_for_storage(labels: np.ndarray) -> np.ndarray:
    """Renumber labels to ``1..K``, so that 16 bits hold any map of up to 65,535 regions."""
    return compact_labels(np.asarray(labels).astype(np.int64))


class MapFile:
    """A label map on disk, verified, whose rows are inflated no further down than is asked for.

    Cut like the ``(H, W, 1)`` array it stands for, ``map_file[top:bottom, left:right]``, it gives
    int32 labels; a damaged file is an error, never a map with holes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._data = Path(path).read_bytes()
        # Decoders differ in what they make of a truncated file; some fill up with zeros.
        self._chunks = list(png_chunks(self._data, path))
        # Before memory is asked for: a few bytes can claim, and inflate to, many gigabytes.
        self.shape = (*png_size(self._chunks[0], path), 1)

    def __getitem__(self, cut: tuple[slice, ...]) -> np.ndarray:
        rows, columns = cut[:2]
        return self._labels(rows.stop)[rows, columns, None].astype(np.int32)

    def read(self) -> np.ndarray:
        """The whole map, ``(H, W)``."""
        return self._labels(None).astype(np.int32)

    def _labels(self, stop: int | None) -> np.ndarray:
        labels = decode_labels(self._chunks, stop)
        return self._decoded_otherwise() if labels is None else labels

    def _decoded_otherwise(self) -> np.ndarray:
        """A map that was made by other means."""
        try:
            labels = cv2.imdecode(np.frombuffer(self._data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            labels = None
        if labels is None:
            raise ValueError(f'{self.path} is damaged: it cannot be decoded')
        if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f'{self.path} is no label map of 8 or 16 bits, but {labels.dtype} {labels.shape}'
            )
        return labels


def read_record(path: str | Path) -> dict[str, Any] | None:
    """Read where a map comes from, without decoding it; None if the file does not say."""
    found = None
    for kind, content in png_chunks(Path(path).read_bytes(), path):
        if kind == b'tEXt' and content.startswith(_KEYWORD):
            found = parse_json(content[len(_KEYWORD) :], path)
            if not isinstance(found, dict):
                raise ValueError(f'{path} is damaged: its record is no dictionary')
    return found


def encode_labels(
    labels: np.ndarray, bits: int = 16, record: dict[str, Any] | None = None
) -> bytes:
    """An ``(H, W)`` map as a greyscale PNG, its record in a text chunk; every decoder reads it."""
    height, width = labels.shape
    samples = np.ascontiguousarray(labels, _SAMPLES[bits]).view(np.uint8).reshape(height, -1)
    # PNG's filters predict smooth shades; labels are not smooth, so filtering them makes files
    # larger and has to be undone byte by byte. The first byte of a row says: no filter.
    rows = np.pad(samples, ((0, 0), (1, 0)))
    # Greyscale, the only compression and filtering that there is, not interlaced.
    chunks = [(b'IHDR', _HEADER.pack(width, height, bits, 0, 0, 0, 0))]
    if record is not None:
        text = json.dumps(record, sort_keys=True, separators=(',', ':'), ensure_ascii=True)
        chunks.append((b'tEXt', _KEYWORD + text.encode('latin-1')))
    chunks += [(b'IDAT', zlib.compress(rows, _LEVEL)), (b'IEND', b'')]
    return PNG_SIGNATURE + b''.join(png_chunk(*each) for each in chunks)


def decode_labels(
    chunks: Iterable[tuple[bytes, bytes]], stop: int | None = None
) -> np.ndarray | None:
    """Decode a map that :func:`encode_labels` wrote, from its verified chunks; None for others.

    Its declared size has been checked before: no more than that is inflated, and of that only the
    rows above ``stop`` if there is one.
    """
    chunks = list(chunks)
    content = dict(chunks)
    data = [each for kind, each in chunks if kind == b'IDAT']
    if len(data) != 1 or len(content.get(b'IHDR', b'')) != _HEADER.size:
        return None
    width, height, bits, *kind = _HEADER.unpack(content[b'IHDR'])
    if bits not in _SAMPLES or kind != [0, 0, 0, 0] or not width or not height:
        return None
    whole = stop is None or stop >= height
    length = (height if whole else stop) * (1 + width * bits // 8)
    try:
        # Without zlib's own checksum of the content: the chunk's has been verified, and computing
        # a second one takes as long as inflating.
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        flat = inflating.decompress(_deflated(data[0]), length + whole)
    except zlib.error:
        return None
    if len(flat) != length or (whole and not inflating.eof):
        return None
    rows = np.frombuffer(flat, np.uint8).reshape(-1, 1 + width * bits // 8)
    return None if rows[:, 0].any() else rows[:, 1:].view(_SAMPLES[bits])


def _deflated(stream: bytes) -> memoryview:
    """What is between a zlib stream's two bytes of header and four of checksum."""
    if len(stream) < 6 or stream[0] & 0x0F != 8 or stream[1] & 0x20:
        raise zlib.error('no zlib stream without dictionary')
    return memoryview(stream)[2:-4]


def decode_rle(encoded: dict[str, Any]) -> np.ndarray:
    """Undo :func:`run_lengths`: an ``(H, W)`` bool mask."""
    height, width = size_of_rle(encoded)
    counts = encoded.get('counts')
    # Booleans are integers to Python, and no counts.
    if not isinstance(counts, list) or any(type(n) is not int or n < 0 for n in counts):
        raise ValueError("'counts' must be a list of run lengths, integers from 0")
    if sum(counts) != height * width:
        raise ValueError(f'the runs cover {sum(counts)} pixels of a mask of {height} x {width}')
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(height, width, order='F')


def size_of_rle(encoded: Any) -> tuple[int, int]:
    """Height and width that an encoded mask claims."""
    size = encoded.get('size') if isinstance(encoded, dict) else None
    if not isinstance(size, list) or [type(n) for n in size] != [int, int]:
        raise ValueError("a mask must have a 'size' of two integers and 'counts'")
    height, width = size
    check_pixels(height, width, 'it')
    return height, width


def write_masks(path: str | Path, records: list[dict[str, Any]]) -> None:
    """Write the masks of one image, atomically."""
    encoded = [
        {**each, 'segmentation': run_lengths(np.asarray(each['segmentation']) != 0)}
        for each in records
    ]
    # Values that JSON does not know are NumPy's numbers and arrays.
    text = json.dumps(encoded, default=lambda value: value.tolist(), separators=(',', ':'))
    write_atomically(path, text.encode())


def read_masks(path: str | Path) -> list[dict[str, Any]]:
    """Read the masks of one image."""
    records = parse_json(Path(path).read_bytes(), path)
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise ValueError(f'{path} is damaged: it must hold a list of masks')
    masks: list[dict[str, Any]] = []
    try:
        sizes = [size_of_rle(each.get('segmentation')) for each in records]
        # All are of one image; and before memory is asked for, for all of them.
        if len(set(sizes)) > 1 or sum(height * width for height, width in sizes) > _MAX_BYTES:
            raise ValueError(f'{len(sizes)} masks of {sorted(set(sizes))[:3]} are not of one image')
        for each in records:
            masks.append({**each, 'segmentation': decode_rle(each['segmentation'])})
    except ValueError as error:
        raise ValueError(f'{path} is damaged: mask {len(masks)}: {error}') from error
    return masks
