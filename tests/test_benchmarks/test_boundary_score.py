"""The boundary score: matching by hand and against SciPy's assignment, ridges, and the script."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from toy import config, plain_model
from toy_edges import random_arrays, write_arrays

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """A script finds the modules beside it."""
    monkeypatch.syspath_prepend(BENCHMARKS)


def line(column, size=(100, 100)):
    mask = np.zeros(size, bool)
    mask[:, column] = True
    return mask


@pytest.mark.parametrize(('shift', 'matched'), [(0, 100), (1, 100), (2, 0)])
def test_lines_match_within_the_distance(shift, matched):
    from lab.boundary_score import match

    # 0.0075 of the diagonal of 141.4 pixels is 1.06 pixels.
    counts = match(line(50 + shift), line(50))
    assert counts == (100, 100, matched)
    assert counts.f_measure == matched / 100


def test_every_human_pixel_is_matched_once():
    from lab.boundary_score import Counts, match

    counts = match(line(49) | line(51), line(50))
    assert counts == (200, 100, 100)
    assert (counts.precision, counts.recall) == (0.5, 1.0)
    assert counts.f_measure == pytest.approx(2 / 3)
    assert match(np.zeros((9, 9), bool), np.ones((9, 9), bool)) == (0, 81, 0)
    assert Counts(1, 2, 3).plus(Counts(4, 5, 6)) == (5, 7, 9)


def test_as_many_pairs_as_an_assignment_finds():
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    from lab.boundary_score import MAX_DISTANCE, match

    draw = np.random.default_rng(0)
    ours, theirs = draw.random((200, 200)) < 0.01, draw.random((200, 200)) < 0.01
    far = cdist(np.argwhere(ours), np.argwhere(theirs)) > MAX_DISTANCE * np.hypot(200, 200)
    rows, columns = linear_sum_assignment(far)
    expected = int((~far[rows, columns]).sum())
    assert match(ours, theirs).matched == expected
    assert 0 < expected < min(ours.sum(), theirs.sum())


@pytest.mark.parametrize('vertical', [True, False])
def test_a_ridge_is_kept_at_its_crest(vertical):
    from lab.boundary_score import ridges

    profile = np.exp(-((np.arange(40) - 20.0) ** 2) / 18)
    strength = np.tile(profile, (30, 1))
    kept = ridges(strength if vertical else strength.T)
    kept = kept if vertical else kept.T
    assert (kept[:, 20] > 0.9).all()
    assert (kept[5:25, 10:19] == 0).all()
    assert (kept[5:25, 22:31] == 0).all()


def test_boundaries_are_thin_and_between_regions():
    from lab.boundary_score import boundaries

    labels = np.ones((20, 20), int)
    labels[:, 10:] = 7
    assert np.flatnonzero(boundaries(labels).any(0)).tolist() == [9]
    assert not boundaries(np.ones((5, 5), int)).any()


@pytest.mark.slow  # naming the processor starts a process
def test_the_script(tmp_path, capsys):
    pytest.importorskip('h5py')
    for folder in ('images', 'regions'):
        (tmp_path / folder).mkdir()
    draw = np.random.default_rng(0)
    for name in 'ab':
        image = np.full((32, 48, 3), 40, np.uint8)
        image[:, 24:] = 200
        cv2.imwrite(str(tmp_path / f'images/{name}.png'), image + draw.integers(0, 3, image.shape))
        cv2.imwrite(str(tmp_path / f'regions/{name}.png'), (image[..., 0] > 100) + np.uint16(1))
    weights = write_arrays(tmp_path / 'own.h5', random_arrays())
    main = runpy.run_path(str(BENCHMARKS / 'edges_bsds500.py'))['main']
    out = tmp_path / 'table.md'
    options = ['--images', '2', '--checkpoint', str(weights), '--out', str(out)]
    assert main([str(tmp_path), *options]) == 0
    text = out.read_text()
    rows = [line.split('|')[1:-1] for line in text.splitlines() if line.startswith('| ')]
    found = {(row[0].strip(), row[1].strip()): row for row in rows}
    # The one edge of these images is found exactly by colour.
    assert float(found['clean', 'superpixels, coarse'][-1]) == 1.0
    assert float(found['noise, sigma 50', 'superpixels, default'][-1]) < 0.8
    assert len(rows) == 1 + 4 * 7
    assert main([str(tmp_path / 'nothing')]) == 2
    assert 'holds no images' in capsys.readouterr().err


def step_arrays():
    """Edge network that sees where the next pixel to the right is brighter by some 80."""
    arrays = {key: np.zeros_like(value) for key, value in random_arrays().items()}
    arrays['block1/layers/conv2d/vars/0'][1, 1:, :, 0] = [[-1 / 3] * 3, [1 / 3] * 3]
    arrays['block1/layers/conv2d_1/vars/0'][1, 1, 0, 0] = 1
    arrays['dsn1/vars/0'][0, 0, 0, 0] = 1 / 80
    arrays['fuse/vars/0'][0, 0, 0, 0] = 6
    arrays['fuse/vars/1'][:] = -6
    return arrays


@pytest.mark.slow  # an edge network at nineteen thresholds
def test_the_script_scores_restorers(tmp_path):
    pytest.importorskip('h5py')
    for folder in ('images', 'regions'):
        (tmp_path / folder).mkdir()
    image = np.full((32, 48, 3), 40, np.uint8)
    image[:, 24:] = 200
    cv2.imwrite(str(tmp_path / 'images/a.png'), image)
    cv2.imwrite(str(tmp_path / 'regions/a.png'), (image[..., 0] > 100) + np.uint16(1))
    weights = write_arrays(tmp_path / 'own.h5', step_arrays())
    # One leaves the image as it is; one paints it black, where no edge is found.
    model = plain_model()
    state = MODELS.build(model).state_dict()
    plain = {key: torch.zeros_like(value) for key, value in state.items()}
    black = {**plain, 'generator.last.bias': torch.full((3,), -2.0)}
    config(tmp_path, tmp_path, model).dump(str(tmp_path / 'config.py'))
    for name, state in (('plain', plain), ('black', black)):
        torch.save({'state_dict': state}, tmp_path / f'{name}.pth')
    main = runpy.run_path(str(BENCHMARKS / 'edges_bsds500.py'))['main']
    out = tmp_path / 'table.md'
    given = [
        part
        for name in ('plain', 'black', 'plain')
        for part in ('--restorer', name, tmp_path / 'config.py', tmp_path / f'{name}.pth')
    ]
    options = ['--checkpoint', weights, '--condition', 'noise, sigma 25', '--out', out]
    assert main([str(each) for each in [tmp_path, *options, *given]]) == 0
    rows = [line.split('|')[1:-1] for line in out.read_text().splitlines() if line.startswith('| ')]
    found = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows[1:]}
    assert [found[name][0] for name in ('plain', 'black')] == ['2', '1']
    assert found['plain'][2] == '+0.0000 ± 0.0000'
    assert found['plain'][1] == '1.0000 ± 0.0000'
    assert [found['black'][1], found['black'][2]] == ['0.0000', '-1.0000']
