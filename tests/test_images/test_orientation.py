"""Turned as OpenCV turns, and back."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mmsamdistill.images.header import (
    ignores_orientation,
    read_header,
    read_orientation,
    turned,
    turned_back,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def photograph(path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {'lossless': True} if kind == 'WEBP' else {}
    stream = io.BytesIO()
    if kind == 'MPO':
        # Two pictures, as a phone with two lenses writes them.
        other = Image.fromarray(PIXELS[::-1].copy())
        options |= {'save_all': True, 'append_images': [other]}
    Image.fromarray(PIXELS).save(stream, kind, exif=exif, **options)
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize('kind', ['JPEG', 'MPO', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_as_opencv_does(tmp_path, kind, orientation):
    path = photograph(tmp_path / 'x', kind, orientation)
    found = read_orientation(path)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    upright, stored = (
        cv2.imdecode(data, flag) for flag in (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED)
    )
    if kind != 'TIFF':
        assert found == orientation
    assert np.array_equal(turned(stored, found), upright)
    assert np.array_equal(turned_back(upright, found), stored)
    assert read_header(path).size == upright.shape[:2]
    assert read_header(path).stored == stored.shape[:2]


def test_what_opencv_does_not_read_turns_nothing(tmp_path):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = tmp_path / 'x.jpg'
    Image.fromarray(PIXELS).save(path, xmp=xmp)
    assert read_orientation(path) == 1
    assert cv2.imread(str(path)).shape[:2] == read_header(path).size == (16, 24)
    for exif in (b'Exif\0\0MM', b'Exif\0\0', b'nonsense'):
        Image.fromarray(PIXELS).save(path, exif=exif)
        assert read_orientation(path) == 1


def test_which_loaders_leave_the_pixels_as_stored():
    kinds = ('unchanged', 'color_ignore_orientation', 'color', 'grayscale')
    assert [ignores_orientation(kind) for kind in kinds] == [True, True, False, False]
