"""Of several random crops the one with the most regions."""

import numpy as np
import pytest
import torch
from toy import write_data

from mmsamdistill.data_check.files import Leaf
from mmsamdistill.datasets import RegionCrop
from mmsamdistill.datasets.region_dataset import RegionDataset
from mmsamdistill.datasets.region_pipeline import add_regions_to_pipeline

# Six columns: one region on the left, a region to a pixel on the right.
LABELS = np.array([[5, 5, 5, 1, 2, 3], [5, 5, 5, 4, 6, 7]])[..., None]


class Columns:
    """Cuts out two columns, those that it is told to, one after the other."""

    def __init__(self, *starts):
        self.starts = list(starts)

    def __call__(self, results):
        start = self.starts.pop(0)
        if start is None:
            return None
        for key in ('gt', 'regions'):
            if key in results:
                results[key] = results[key][:, start : start + 2]
        return {**results, 'start': start}


def sample():
    # Smooth on the right, rough on the left: contrast is where the regions are not.
    rough = np.array([[0, 255, 0, 0, 0, 0], [255, 0, 255, 0, 0, 0]], np.uint8)[..., None]
    return {'gt': rough, 'regions': LABELS}


def test_the_crop_with_the_most_regions_is_kept():
    assert RegionCrop([Columns(0, 3, 2)], candidates=3)(sample())['start'] == 3


def test_of_equals_the_first_is_kept():
    assert RegionCrop([Columns(4, 3)])(sample())['start'] == 4


def test_one_candidate_is_the_plain_crop():
    assert RegionCrop([Columns(0)], candidates=1)(sample())['start'] == 0


def test_misplaced_regions_are_counted_in_the_map_turned_and_the_true_map_goes_on():
    before = sample()
    after = RegionCrop([Columns(0, 3)], by='misplaced')(before)
    assert after['start'] == 0
    np.testing.assert_array_equal(after['regions'], LABELS[:, :2])
    assert after['regions'].flags['C_CONTIGUOUS']
    np.testing.assert_array_equal(before['regions'], LABELS)


def test_contrast_needs_no_regions():
    before = sample()
    del before['regions']
    assert RegionCrop([Columns(3, 0)], by='contrast')(before)['start'] == 0
    for pattern in ([[0, 0], [9, 9]], [[0, 9], [0, 9]]):  # along either axis alone
        image = np.zeros((2, 6, 1), np.uint8)
        image[:, :2, 0] = pattern
        assert RegionCrop([Columns(3, 0)], by='contrast')({'gt': image})['start'] == 0


def test_every_try_starts_from_the_same_images():
    before = sample()
    untouched = {key: value.copy() for key, value in before.items()}
    RegionCrop([Columns(3, 4, 0)], candidates=3)(before)
    for key, value in untouched.items():
        np.testing.assert_array_equal(before[key], value)


def test_a_try_that_writes_in_place_leaves_the_images_of_the_next_as_they_were():
    def turn(results):  # as MMagic's Flip does, into the image that the crop is a view of
        results['gt'][:] = results['gt'][::-1].copy()
        return results

    before = sample()
    after = RegionCrop([Columns(0, 0), turn], by='contrast')(sample())
    np.testing.assert_array_equal(after['gt'], before['gt'][::-1, :2])
    first = RegionCrop([Columns(0, 3, 3), turn], candidates=3)(sample())
    np.testing.assert_array_equal(first['gt'], before['gt'][::-1, 3:5])


def test_a_crop_alone_copies_no_image():
    seen = []

    def crop(results):
        seen.append(results['gt'])
        return {key: value[:2, :2] for key, value in results.items()}

    images = sample()
    RegionCrop([crop], candidates=3)(images)
    assert all(each is images['gt'] for each in seen)
    assert len(seen) == 3


def test_a_crop_that_gives_up_is_passed_on():
    assert RegionCrop([Columns(0, None)])(sample()) is None


def test_mistakes_are_named():
    with pytest.raises(ValueError, match='candidates=0 must be a number, at least 1'):
        RegionCrop([], candidates=0)
    with pytest.raises(ValueError, match="by='size' is not one of"):
        RegionCrop([], by='size')
    with pytest.raises(KeyError, match=r'needs .regions..*RegionDataset loads'):
        RegionCrop([Columns(0)])({'gt': np.zeros((2, 6, 1))})
    with pytest.raises(KeyError, match=r'needs .gt., there are only'):
        RegionCrop([Columns(0)], by='contrast')({'regions': LABELS})


CROP = {'type': 'PairedRandomCrop', 'gt_patch_size': 8}


def items(data, count=200, **arguments):
    """Crops of the toy data, whose truth has one colour in each region."""
    load = [{'type': 'LoadImageFromFile', 'key': key} for key in ('img', 'gt')]
    scale = {'type': 'SetValues', 'dictionary': {'scale': 1}}
    dataset = {
        'type': 'BasicImageDataset',
        'metainfo': {'dataset_type': 'toy', 'task_name': 'denoising'},
        'data_root': str(data),
        'data_prefix': {'gt': 'gt', 'img': 'img'},
        'pipeline': [*load, scale, CROP, {'type': 'PackInputs'}],
    }
    dataset = RegionDataset(dataset, str(data / 'regions'), **arguments)
    np.random.seed(3)
    return [dataset[index % len(dataset)] for index in range(count)]


def counts(samples):
    return [len(packed['data_samples'].regions.unique()) for packed in samples]


def test_in_the_pipeline_of_a_dataset_with_regions(tmp_path):
    data = write_data(tmp_path / 'data')
    plain, chosen = items(data), items(data, crop={'candidates': 4})
    assert np.mean(counts(chosen)) > np.mean(counts(plain)) + 0.2
    for packed in chosen:
        truth = packed['data_samples'].gt_img.float()
        regions = packed['data_samples'].regions[0]
        assert truth.shape[-2:] == regions.shape == (8, 8)
        for label in regions.unique():
            colours = truth[:, regions == label]
            assert torch.equal(colours.amin(1), colours.amax(1))
        assert (packed['inputs'].float() - truth).abs().mean() < 30  # noise of sigma 25
    # One candidate: the very crops of the plain pipeline.
    one = items(data, 10, crop={'candidates': 1})
    for ours, theirs in zip(one, plain, strict=False):
        assert (ours['inputs'] == theirs['inputs']).all()


def test_only_a_random_crop_can_be_chosen():
    load, pack = {'type': 'LoadImageFromFile', 'key': 'gt'}, {'type': 'PackInputs'}
    fixed = {'type': 'Crop', 'keys': ['gt'], 'crop_size': (8, 8), 'random_crop': False}
    with pytest.raises(ValueError, match=r"crop=\{'candidates': 3\} needs one of"):
        add_regions_to_pipeline([load, fixed, pack], 'cache', crop={'candidates': 3})
    chosen = add_regions_to_pipeline(
        [load, fixed, {**fixed, 'random_crop': True}, pack], 'cache', crop={}
    )
    assert [step['type'] for step in chosen[2:4]] == ['CarryRegions', 'RegionCrop']


def test_the_size_of_the_patch_is_seen_inside_it():
    crop = {'type': 'RegionCrop', 'transforms': [CROP]}
    assert Leaf({'type': 'BasicImageDataset', 'pipeline': [crop]}).patch() == 8
