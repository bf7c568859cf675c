"""The fast reader and writer of label maps, against OpenCV."""

import zlib

import cv2
import numpy as np
import pytest

from mmsamdistill.cache.map_file import MapFile, decode_labels, encode_labels
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
    assert np.array_equal(decode_labels(chunks_of(png)), labels)
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


@pytest.mark.parametrize('labels', MAPS.values(), ids=MAPS)
def test_a_part_is_that_of_the_whole(labels, tmp_path):
    path = tmp_path / 'map.png'
    path.write_bytes(encode_labels(labels))
    ours = MapFile(path)
    foreign = tmp_path / 'foreign.png'
    cv2.imwrite(str(foreign), labels.astype(np.uint16), [cv2.IMWRITE_PNG_FILTER, 5 << 5])
    height, width = labels.shape
    assert ours.shape == (height, width, 1)
    for top, bottom in ((0, 1), (height // 2, height // 2 + 1), (height - 1, height), (0, height)):
        for part in (ours, MapFile(foreign)):
            cut = part[top:bottom, width // 3 : width, ...]
            assert cut.dtype == np.int32
            assert np.array_equal(cut, labels[top:bottom, width // 3 :, None])
    whole = ours.read()
    assert whole.dtype == np.int32
    assert whole.flags.c_contiguous
    assert whole.flags.writeable


def test_no_more_than_the_rows_asked_for_is_inflated():
    labels = MAPS['noise']
    header, data, end = chunks_of(encode_labels(labels))
    rows = zlib.decompress(data[1])
    cut_off = [header, (b'IDAT', zlib.compress(rows[: 20 * (1 + 2 * 53)])), end]
    assert np.array_equal(decode_labels(cut_off, 20), labels[:20])
    assert decode_labels(cut_off) is None
    assert decode_labels(cut_off, 21) is None


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
