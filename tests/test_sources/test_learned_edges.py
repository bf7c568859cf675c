"""Learned edges: the network against a transcription, the watershed, and being a region source."""

import copy

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from toy_edges import random_arrays, transcription, write_arrays

from mmsamdistill.sources import LearnedEdgeRegions
from mmsamdistill.sources.learned_edges import watershed_regions

pytest.importorskip('h5py')


@pytest.fixture(scope='module')
def arrays():
    return random_arrays()


@pytest.fixture(scope='module')
def file(arrays, tmp_path_factory):
    return write_arrays(tmp_path_factory.mktemp('edges') / 'own.h5', arrays)


@pytest.mark.slow
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (17, 22), (33, 31)])
def test_strength_is_the_transcriptions(size, arrays, file):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = transcription(arrays, images)[1]
    strength = LearnedEdgeRegions(file).strength(images)
    assert strength.shape == (2, *size)
    torch.testing.assert_close(strength, expected, rtol=1e-5, atol=1e-5)
    # The order of the channels matters, so the above says something.
    if size[0] > 1:
        assert (LearnedEdgeRegions(file).strength(images.flip(1)) - expected).abs().max() > 1e-3


def walls(height=0.5, low=0.1):
    """Two rooms with a strong wall, the right one with a weak wall in it."""
    strength = np.full((20, 40), 0.02)
    strength[:, 19:21] = height
    strength[:, 30] = low
    return strength


def same(labels, first, second):
    return labels[first] == labels[second]


def test_walls_above_the_threshold_part_regions():
    fine, coarse = watershed_regions(walls(), 0.04, 0), watershed_regions(walls(), 0.2, 0)
    assert np.unique(fine).tolist() == [1, 2, 3]
    assert np.unique(coarse).tolist() == [1, 2]
    assert not same(fine, (0, 25), (0, 35))
    assert same(coarse, (0, 25), (0, 35))
    for labels in (fine, coarse):
        assert (labels[:, :19] == labels[0, 0]).all()
        assert not same(labels, (0, 0), (0, 25))


def test_coarser_regions_are_unions_of_finer_ones():
    draw = np.random.default_rng(0)
    from scipy import ndimage

    noise = ndimage.gaussian_filter(draw.random((60, 70)), 2)
    noise = (noise - noise.min()) / np.ptp(noise)
    counts = []
    finer = watershed_regions(noise, 0.0, 0)
    for threshold in (0.05, 0.1, 0.2, 0.4):
        coarser = watershed_regions(noise, threshold, 0)
        counts.append(coarser.max())
        pairs = np.unique(np.stack([finer.ravel(), coarser.ravel()]), axis=1)
        # Ties at the borders may go either way; nearly every fine region lies in one coarse one.
        shares = [
            np.bincount(coarser[finer == label]).max() / (finer == label).sum()
            for label in np.unique(pairs[0])
        ]
        assert np.mean(shares) > 0.97
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] >= 1


def test_smoothing_is_a_parameter():
    rough = walls() + np.random.default_rng(0).normal(0, 0.05, (20, 40)).clip(-0.02, 0.1)
    assert watershed_regions(rough, 0.04, 0).max() > watershed_regions(rough, 0.04, 1).max()


@pytest.mark.parametrize('value', [0.0, 0.5])
def test_no_edge_is_one_region(value):
    assert (watershed_regions(np.full((7, 5), value, np.float32), 0.04, 1.0) == 1).all()
    # Not even without a threshold.
    assert (watershed_regions(np.full((7, 5), value, np.float32), 0.0, 1.0) == 1).all()


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (5, 3)])
def test_tiny_and_constant_images(size, file):
    labels = LearnedEdgeRegions(file)(torch.full((2, 3, *size), 0.5))
    assert labels.shape == (2, *size)
    assert labels.min() >= 1


def test_what_a_diverging_restorer_returns(file):
    source = LearnedEdgeRegions(file)
    images = torch.rand(1, 3, 20, 24) * 3 - 1
    assert torch.equal(source(images), source(images.clamp(0, 1)))
    images[0, :, :4, :4] = float('nan')
    assert source(images).min() >= 1


def test_registered_frozen_and_in_nobodys_state(file):
    source = MODELS.build({'type': 'LearnedEdgeRegions', 'checkpoint': str(file)})
    state = torch.get_rng_state()
    source.prepare('cpu')
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(source.parameters())
    assert not source.state_dict()
    assert not any(each.requires_grad for each in source.frozen.network.parameters())
    images = torch.rand(1, 3, 16, 16)
    expected = source.strength(images)
    # Neither half precision, nor autocast, nor a copy changes what it sees.
    source.half().train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(source.strength(images), expected)
    assert torch.equal(copy.deepcopy(source).strength(images), expected)


def test_description_holds_everything_that_decides(file):
    source = LearnedEdgeRegions(file, threshold=0.1, sigma=2)
    assert source.describe() == {
        'type': 'LearnedEdgeRegions',
        'checkpoint_sha256': source._located[1],
        'threshold': 0.1,
        'sigma': 2.0,
    }
    assert 'threshold=0.1, sigma=2' in repr(source)


@pytest.mark.parametrize('given', [{'threshold': 1}, {'threshold': -0.1}, {'sigma': -1}])
def test_errors(given):
    (name,) = given
    with pytest.raises(ValueError, match=f'{name}='):
        LearnedEdgeRegions(**given)
