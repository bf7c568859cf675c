"""JPEGs that are whole or not, with thumbnails inside and films behind."""

import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from mmsamdistill.images import decode_image
from mmsamdistill.images.header import read_header
from mmsamdistill.images.jpeg import jpeg_is_whole

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def encode(**options):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, 'JPEG', **options)
    return stream.getvalue()


def with_thumbnail(photograph):
    """A segment of the camera's in front, with a whole JPEG in it."""
    content = b'Exif\0\0' + cv2.imencode('.jpg', PIXELS[:8, :8])[1].tobytes()
    segment = b'\xff\xe1' + (len(content) + 2).to_bytes(2, 'big') + content
    return photograph[:2] + segment + photograph[2:]


PHOTOGRAPHS = {
    'baseline': encode(),
    'progressive': encode(progressive=True),
    'restarts': encode(restart_marker_blocks=2),
    'thumbnail': with_thumbnail(encode()),
}


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_whole_with_or_without_a_film_behind_it(name):
    photograph = PHOTOGRAPHS[name]
    # Of a film's bytes any may look like marks of a JPEG.
    film = np.random.default_rng(1).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    assert b'\xff\xda' in film
    for data in (photograph, photograph + b'\0' * 5000, photograph + film):
        assert jpeg_is_whole(data)
        assert decode_image(data, 'x.jpg').shape == PIXELS.shape
        assert read_header(data).size == PIXELS.shape[:2]


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_cut_anywhere_is_not_whole(name):
    photograph = PHOTOGRAPHS[name]
    for length in range(2, len(photograph), 7):
        assert not jpeg_is_whole(photograph[:length]), length
    with pytest.raises(ValueError, match='ends too early'):
        decode_image(photograph[:-20], 'x.jpg')
    with pytest.raises(ValueError, match='ends too early'):
        read_header(photograph[:-20])


def test_png_with_a_film_behind_it():
    png = cv2.imencode('.png', PIXELS)[1].tobytes()
    assert read_header(png + b'\0' * 5000).size == PIXELS.shape[:2]
    with pytest.raises(ValueError, match='ends too early'):
        read_header(png[:-20] + b'\0' * 5000)


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_a_lost_piece_is_found_without_a_strict_decoder(name, monkeypatch):
    monkeypatch.setitem(sys.modules, 'simplejpeg', None)  # no wheel for this machine
    photograph = PHOTOGRAPHS[name]
    middle = len(photograph) - 1000
    decode_image(photograph, 'x.jpg')
    with pytest.raises(ValueError, match='a piece of it is missing and reads as zeros'):
        decode_image(photograph[:middle] + bytes(400) + photograph[middle + 400 :], 'x.jpg')
