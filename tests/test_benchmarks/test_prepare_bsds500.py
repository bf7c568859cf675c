"""A tiny archive in the public layout becomes images and region maps."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mmsamdistill.cache.map_file import MapFile

TOOL = Path(__file__).parents[2] / 'benchmarks/prepare_bsds500.py'


def segmentation(segments):
    return np.repeat(np.arange(1, segments + 1, dtype=np.uint16)[None], 6, axis=0)


def write_archive(root, annotators=(5, 2, 3, 4)):
    for split in ('train', 'val', 'test'):
        (root / 'images' / split).mkdir(parents=True)
        (root / 'groundTruth' / split).mkdir(parents=True)
        cv2.imwrite(str(root / 'images' / split / '7.jpg'), np.full((6, 5, 3), 90, np.uint8))
        cells = np.empty((1, len(annotators)), object)
        for index, segments in enumerate(annotators):
            cells[0, index] = {'Segmentation': segmentation(segments)[:, :5]}
        savemat(root / 'groundTruth' / split / '7.mat', {'groundTruth': cells})
    return root


@pytest.fixture
def run(monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return call


# Of an even number the lower median.
@pytest.mark.parametrize(('annotators', 'median'), [((5, 2, 3, 4), 3), ((5, 1, 4), 4), ((2,), 2)])
def test_images_are_copied_and_the_median_segmentation_is_taken(
    tmp_path, run, capsys, annotators, median
):
    archive = write_archive(tmp_path / 'archive', annotators)
    run(archive, tmp_path / 'out')
    for split in ('train', 'test'):
        copied = tmp_path / 'out' / split / 'images/7.jpg'
        assert copied.read_bytes() == (archive / 'images' / split / '7.jpg').read_bytes()
        labels = MapFile(tmp_path / 'out' / split / 'regions/7.png').read()
        assert np.array_equal(labels, segmentation(median)[:, :5])
    assert not (tmp_path / 'out/val').exists()
    assert 'warning: 1 photographs in train/, the public archive has 200' in capsys.readouterr().out


def test_a_missing_file_is_named_before_anything_is_written(tmp_path, run):
    archive = write_archive(tmp_path / 'archive')
    (archive / 'groundTruth/test/7.mat').unlink()
    with pytest.raises(SystemExit, match='has no segmentations'):
        run(archive, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_wrong_folder_says_which_one_is_meant(tmp_path, run):
    with pytest.raises(SystemExit, match='BSR/BSDS500/data'):
        run(tmp_path, tmp_path / 'out')


def test_a_damaged_file_is_named(tmp_path, run):
    archive = write_archive(tmp_path / 'archive')
    (archive / 'groundTruth/train/7.mat').write_bytes(b'nothing')
    with pytest.raises(SystemExit, match='is no file of segmentations'):
        run(archive, tmp_path / 'out')
