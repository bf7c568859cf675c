"""One strength to a region, between the truth and the degraded image."""

import numpy as np
import pytest
from toy import write_data

from mmsamdistill.datasets import RegionMix
from mmsamdistill.datasets.region_dataset import RegionDataset

LABELS = np.array([[0, 0, 7, 7], [0, 300, 300, 7]])[..., None]


def pair(seed=0, dtype=np.float32):
    generator = np.random.default_rng(seed)
    gt = generator.integers(0, 256, (2, 4, 3)).astype(dtype)
    return {'gt': gt, 'img': 255 - gt, 'regions': LABELS}


def strengths(before, after):
    return (after['img'] - before['gt']) / (before['img'] - before['gt'])


def test_every_region_has_one_strength_of_its_own_within_the_range():
    np.random.seed(0)
    before = pair()
    found = strengths(before, RegionMix(1.0, (0.25, 0.75))(dict(before)))
    of_regions = [found[LABELS[..., 0] == label] for label in np.unique(LABELS)]
    for values in of_regions:
        np.testing.assert_allclose(values, values[0, 0], rtol=1e-4)
        assert 0.25 <= values[0, 0] <= 0.75
    assert len({round(float(values[0, 0]), 4) for values in of_regions}) == 3


def test_misplaced_regions_are_the_same_ones_turned():
    before = pair()
    np.random.seed(0)
    expected = strengths(before, RegionMix(1.0)({**before, 'regions': LABELS[::-1, ::-1]}))
    np.random.seed(0)
    found = strengths(before, RegionMix(1.0, per='misplaced')(dict(before)))
    np.testing.assert_array_equal(found, expected)


def test_an_image_has_one_strength_and_needs_no_regions():
    np.random.seed(0)
    before = pair()
    del before['regions']
    found = strengths(before, RegionMix(1.0, (0.25, 0.75), per='image')(dict(before)))
    np.testing.assert_allclose(found, found[0, 0, 0], rtol=1e-4)


def test_probability():
    np.random.seed(0)
    before = pair()
    assert RegionMix(0.0)(dict(before))['img'] is before['img']
    mix = RegionMix(0.3)
    mixed = sum(mix(dict(before))['img'] is not before['img'] for _ in range(1000))
    assert 250 < mixed < 350


def test_strengths_are_drawn_from_the_whole_range():
    np.random.seed(0)
    mix, before = RegionMix(1.0, (0.2, 1.0), per='image'), pair()
    drawn = [strengths(before, mix(dict(before)))[0, 0, 0] for _ in range(500)]
    assert min(drawn) < 0.25
    assert max(drawn) > 0.95
    assert abs(np.mean(drawn) - 0.6) < 0.03


def test_integers_are_rounded_and_truth_is_left_alone():
    np.random.seed(0)
    before = pair(dtype=np.uint8)
    after = RegionMix(1.0, 0.5)(dict(before))
    assert after['img'].dtype == np.uint8
    expected = np.rint((before['gt'].astype(float) + before['img']) / 2)
    np.testing.assert_array_equal(after['img'], expected)
    assert after['gt'] is before['gt']


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r'probability must be in 0\.\.1, got 2'):
        RegionMix(2)
    with pytest.raises(ValueError, match="per='pixel' is not one of"):
        RegionMix(per='pixel')
    with pytest.raises(ValueError, match='strength'):
        RegionMix(strength=(-1, 1))
    without = pair()
    del without['regions']
    with pytest.raises(KeyError, match=r'needs .regions..*RegionDataset loads'):
        RegionMix()(without)
    with pytest.raises(ValueError, match=r'region map of shape \(1, 4, 1\) beside images'):
        RegionMix()({**pair(), 'regions': LABELS[:1]})
    with pytest.raises(ValueError, match='cannot be mixed'):
        RegionMix()({**pair(), 'gt': np.zeros((1, 4, 3))})


def test_in_the_pipeline_of_a_dataset_with_regions(tmp_path):
    data = write_data(tmp_path / 'data')
    load = [{'type': 'LoadImageFromFile', 'key': key} for key in ('img', 'gt')]
    pipeline = [
        *load,
        {'type': 'SetValues', 'dictionary': {'scale': 1}},
        {'type': 'PairedRandomCrop', 'gt_patch_size': 16},
        {'type': 'RegionMix', 'probability': 1.0, 'strength': (0.2, 1.0)},
        {'type': 'PackInputs'},
    ]
    dataset = {
        'type': 'BasicImageDataset',
        'metainfo': {'dataset_type': 'toy', 'task_name': 'denoising'},
        'data_root': str(data),
        'data_prefix': {'gt': 'gt', 'img': 'img'},
    }

    def item(pipeline):
        np.random.seed(3)
        whole = RegionDataset({**dataset, 'pipeline': pipeline}, str(data / 'regions'))
        packed = whole[0]
        image, sample = packed['inputs'].numpy().astype(float), packed['data_samples']
        return image, sample.gt_img.numpy().astype(float), sample.regions.numpy()[0]

    mixed, truth, labels = item(pipeline)
    degraded, same_truth, same_labels = item([*pipeline[:-2], pipeline[-1]])
    np.testing.assert_array_equal(truth, same_truth)
    np.testing.assert_array_equal(labels, same_labels)
    for label in np.unique(labels):
        inside = labels == label
        apart = np.abs(degraded - truth)[:, inside] > 20  # else rounding is all there is
        found = ((mixed - truth)[:, inside] / (degraded - truth)[:, inside])[apart]
        assert found.std() < 0.03
        assert 0.15 < found.mean() < 1.05
