import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

TOOL = Path(__file__).parents[2] / 'tools/compare.py'


@pytest.fixture
def compare():
    spec = importlib.util.spec_from_file_location('tool_compare', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folders(tmp_path):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for name, amount in (('truth', 0), ('a', 30), ('b', 10)):
        (tmp_path / name).mkdir()
        noise = generator.integers(-amount, amount + 1, truth.shape)
        picture = (truth.astype(int) + noise).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / name / 'cat.png'), picture)
    return tmp_path


def call(compare, monkeypatch, folders, *more):
    columns = ('--column', f'first={folders}/a', '--column', f'second={folders}/b')
    arguments = ['--truth', folders / 'truth', *columns, '--out', folders / 'figure.png', *more]
    monkeypatch.setattr(sys, 'argv', ['compare.py', *map(str, arguments)])
    compare.main()


def test_draws_a_figure(compare, monkeypatch, folders):
    call(compare, monkeypatch, folders, '--crop-size', 16)
    assert cv2.imread(str(folders / 'figure.png')).shape[1] > 300


def test_psnr_equals_scikit_image(compare, folders):
    pictures = [compare.read_rgb(folders / name / 'cat.png') for name in ('a', 'truth')]
    expected = peak_signal_noise_ratio(*pictures)
    assert compare.psnr(*pictures).item() == pytest.approx(expected)
    assert compare.psnr(pictures[0], pictures[0]).item() == float('inf')


def test_missing_images_and_folders_are_named(compare, monkeypatch, folders):
    with pytest.raises(SystemExit, match="'first' has no image with the stem 'dog'"):
        call(compare, monkeypatch, folders, '--images', 'dog')
    (folders / 'a/cat.png').write_bytes(b'no image')
    with pytest.raises(SystemExit, match=r'cat\.png cannot be read'):
        call(compare, monkeypatch, folders)
    with pytest.raises(SystemExit, match='nowhere is not a folder'):
        call(compare, monkeypatch, folders, '--column', 'third=nowhere')
