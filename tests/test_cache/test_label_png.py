"""The fast reader and writer of label maps, against OpenCV."""

import zlib

import cv2
import numpy as np
import pytest

from mmsamdistill.cache.map_file import decode_labels, encode_labels
from mmsamdistill.images.header import png_chunks


def chunks_of(png):
    return list(png_chunks(png, 'a map'))


MAPS = {
    'one pixel': np.array([[65535]]),
    'row': np.arange(300)[None],
    'column': np.arange(300)[:, None],
    'blocks': np.kron(np.arange(12).reshape(3, 4), np.ones((7, 5), int)) * 5000,
    'noise': np.random.default_rng(0).integers(0, 65536, (37, 53)),
}


@pytest.mark.parametrize('labels', MAPS.values(), ids=MAPS)
@pytest.mark.parametrize('dtype', [np.int64, np.int32, np.uint16])
def test_round_trip_and_opencv_reads_the_same(labels, dtype):
    png = encode_labels(labels.astype(dtype))
    read = decode_labels(chunks_of(png))
    assert read.dtype == np.int32
    assert read.flags.c_contiguous
    assert read.flags.writeable
    assert np.array_equal(read, labels)
    other = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert other.dtype == np.uint16
    assert np.array_equal(other, labels)


def test_eight_bits():
    labels = np.random.default_rng(0).integers(0, 256, (19, 23))
    png = encode_labels(labels, bits=8)
    assert np.array_equal(decode_labels(chunks_of(png)), labels)
    other = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert other.dtype == np.uint8
    assert np.array_equal(other, labels)
    assert len(png) < len(encode_labels(labels))


def test_any_memory_layout():
    labels = np.asfortranarray(MAPS['blocks'])[::2, ::-1]
    assert np.array_equal(decode_labels(chunks_of(encode_labels(labels))), labels)


def test_other_pngs_are_left_to_a_general_decoder():
    noise = MAPS['noise'].astype(np.uint16)
    for image in (noise, np.dstack([noise] * 3), np.dstack([noise] * 3).astype(np.uint8)):
        _, encoded = cv2.imencode('.png', np.cumsum(image, axis=1).astype(image.dtype))
        labels = decode_labels(chunks_of(encoded.tobytes()))
        assert labels is None or np.array_equal(labels, np.cumsum(noise, axis=1) % 65536)
    header, data, end = chunks_of(encode_labels(noise))
    broken = zlib.compress(zlib.decompress(data[1])[:-1])
    filtered = zlib.compress(b'\x02' + zlib.decompress(data[1])[1:])
    for content in (broken, filtered, b'no zlib', data[1][:-9]):
        assert decode_labels([header, (b'IDAT', content), end]) is None
    assert decode_labels([header, data, data, end]) is None
    assert decode_labels([header, end]) is None
