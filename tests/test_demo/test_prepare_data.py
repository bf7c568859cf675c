"""The demo's data: photographs as they are, and noise of the strength that is said."""

import runpy
from pathlib import Path

import cv2
import numpy as np

DATA = runpy.run_path(str(Path(__file__).parents[2] / 'demo/prepare_data.py'))


def test_colours_stay_what_they_are(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for name in ('a.png', 'a.bmp'):
        DATA['write_image'](tmp_path / name, rgb)
        assert np.array_equal(cv2.imread(str(tmp_path / name))[..., ::-1], rgb)


def test_noise_is_of_its_strength_and_seed():
    grey = np.full((100, 100, 3), 128, np.uint8)
    noisy = DATA['add_noise'](grey, 0)
    assert noisy.dtype == np.uint8
    assert abs(noisy.mean() - 128) < 1
    assert 47 < noisy.astype(float).std() < 51  # a little less than 50, for what is clipped
    assert np.array_equal(noisy, DATA['add_noise'](grey, 0))
    assert not np.array_equal(noisy, DATA['add_noise'](grey, 1))
