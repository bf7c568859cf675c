"""Superpixels against scikit-image."""

import re

import numpy as np
import pytest
import torch
from skimage.segmentation import felzenszwalb, slic

from mmsamdistill.regions import RegionMap
from mmsamdistill.sources import SuperpixelRegions


@pytest.fixture(scope='module')
def images():
    generator = torch.Generator().manual_seed(0)
    noise = 0.15 * torch.rand(2, 3, 40, 48, generator=generator)
    noise[0, 0, 8:30, 5:25] += 0.6
    noise[1, 2, :, 20:] += 0.5
    return noise


def as_array(image):
    return image.permute(1, 2, 0).double().numpy()


def test_defaults_are_felzenszwalb_on_rgb_with_labels_from_one(images):
    labels = SuperpixelRegions()(images)
    assert labels.dtype == torch.int64
    for image, result in zip(images, labels, strict=True):
        expected = felzenszwalb(as_array(image), scale=50, sigma=0.5, min_size=10) + 1
        assert np.array_equal(result.numpy(), expected)
        assert result.min() == 1


def test_slic(images):
    labels = SuperpixelRegions('slic', n_segments=30, compactness=5, sigma=0.5)(images)
    expected = slic(as_array(images[1]), n_segments=30, compactness=5, sigma=0.5, start_label=1)
    assert np.array_equal(labels[1].numpy(), expected)


@pytest.mark.parametrize(
    ('method', 'change'),
    [
        ('felzenszwalb', {'scale': 500}),
        ('felzenszwalb', {'sigma': 2.0}),
        ('felzenszwalb', {'min_size': 100}),
        ('slic', {'n_segments': 12}),
        ('slic', {'compactness': 0.1}),
        ('slic', {'sigma': 2.0}),
    ],
)
def test_every_parameter_changes_regions_and_description(images, method, change):
    plain, changed = SuperpixelRegions(method), SuperpixelRegions(method, **change)
    assert not torch.equal(plain(images), changed(images))
    assert plain.describe() != changed.describe()
    (name,) = change
    assert f'{name}={change[name]}' in repr(changed)


def test_a_sigma_of_zero_is_not_the_default(images):
    assert not torch.equal(SuperpixelRegions(sigma=0)(images), SuperpixelRegions()(images))


def test_deterministic_and_independent_of_the_batch(images):
    source = SuperpixelRegions()
    assert torch.equal(source(images)[1:], source(images[1:]))
    assert torch.equal(source(images.flip(0)), source(images).flip(0))


@pytest.mark.parametrize('method', ['felzenszwalb', 'slic'])
def test_what_a_diverging_restorer_returns(method, images):
    source = SuperpixelRegions(method)
    wild = images * 3 - 1
    assert torch.equal(source(wild), source(wild.clamp(0, 1)))
    broken, black_and_white = wild.clone(), wild.clone()
    for rows, value, seen in ((0, 'nan', 0), (4, 'inf', 1), (8, '-inf', 0)):
        broken[0, :, rows : rows + 4, :4] = float(value)
        black_and_white[0, :, rows : rows + 4, :4] = seen
    labels = source(broken)
    assert torch.equal(labels, source(black_and_white))
    assert torch.equal(labels[1], source(wild)[1])
    assert labels.min() >= 1


@pytest.mark.parametrize('method', ['felzenszwalb', 'slic'])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (5, 3)])
def test_tiny_and_constant_images(method, size):
    labels = SuperpixelRegions(method)(torch.full((1, 3, *size), 0.5))
    assert labels.shape == (1, *size)
    assert labels.min() >= 1
    assert RegionMap.from_labels(labels).num_regions >= 1


def test_half_precision_input_and_layout(images):
    source = SuperpixelRegions()
    half = images.half()
    assert torch.equal(source(half), source(half.float()))
    assert torch.equal(source(images.to(memory_format=torch.channels_last)), source(images))


def test_errors():
    with pytest.raises(ValueError, match="method='watershed' is not one of"):
        SuperpixelRegions('watershed')
    with pytest.raises(ValueError, match='slic does not use min_size, scale'):
        SuperpixelRegions('slic', scale=3, min_size=2)


@pytest.mark.parametrize(
    ('name', 'value'),
    [('scale', 'abc'), ('scale', -1), ('sigma', [1, 2]), ('min_size', 2.5), ('min_size', True)],
)
def test_wrong_values_fail_when_it_is_built(name, value):
    with pytest.raises(ValueError, match=f'{name}={re.escape(repr(value))} must be a'):
        SuperpixelRegions(**{name: value})
    with pytest.raises(ValueError, match='n_segments=0 must be a whole number, at least 1'):
        SuperpixelRegions('slic', n_segments=0)
