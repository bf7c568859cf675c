"""Images that are not of the range that mean and std mean end a training, by name."""

from types import SimpleNamespace

import pytest
import torch
from mmagic.models.data_preprocessors import DataPreprocessor
from mmagic.structures import DataSample

from mmsamdistill.engine import ValueRangeHook


def run(hook, peaks, mean=0.0, std=255.0, truth=True, unlabelled=False):
    preprocessor = DataPreprocessor(mean=[mean] * 3, std=[std] * 3)
    runner = SimpleNamespace(model=SimpleNamespace(data_preprocessor=preprocessor))
    hook.before_train(runner)
    for index, peak in enumerate(peaks):
        image = torch.full((3, 4, 4), float(peak))
        sample = DataSample(metainfo={'gt_path': f'gt/{index}.png'})
        if truth:
            sample.gt_img = image
        samples = [sample]
        if unlabelled:  # as WithoutTruth marks them, and before the others of the batch
            samples = [DataSample(gt_img=torch.full_like(image, torch.nan)), sample]
        hook.before_train_iter(runner, index, {'inputs': [image], 'data_samples': samples})


@pytest.mark.parametrize(
    ('peak', 'mean', 'std'),
    [
        *((255, 0, 255), (255, 127.5, 127.5), (1, 0.5, 0.5), (65535, 0, 65535), (300, 0, 255)),
        *((1000, 0, 1023), (3, 0, 255), (255, 110.0, 57.0)),
    ],
)
def test_images_of_the_range_pass(peak, mean, std):
    run(ValueRangeHook(), [peak] * 12, mean, std)


@pytest.mark.parametrize(
    ('peak', 'mean', 'std', 'white'),
    [(255, 0, 65535, 65535), (255, 0.5, 0.5, 1), (65535, 0, 255, 255), (1, 0, 255, 255)],
)
def test_images_of_another_range_are_named(peak, mean, std, white):
    text = rf'gt/\d\.png: values up to {peak}, .* white is {white}:'
    with pytest.raises(ValueError, match=text):
        run(ValueRangeHook(), [peak] * 10, mean, std)


def test_a_dark_image_is_none_of_a_wrong_range():
    run(ValueRangeHook(), [0] * 9 + [3] + [0] * 9)
    run(ValueRangeHook(), [0] * 9)
    with pytest.raises(ValueError, match=r'gt/1\.png'):
        run(ValueRangeHook(batches=2), [0, 1])
    with pytest.raises(ValueError, match='batches'):
        ValueRangeHook(batches=0)


def test_what_cannot_be_told_is_not_compared():
    run(ValueRangeHook(), [255] * 12, 0, 1)
    run(ValueRangeHook(), [9999] * 12, truth=False)


def test_images_without_truth_hide_nothing_and_count_for_nothing():
    run(ValueRangeHook(), [255] * 12, unlabelled=True)
    run(ValueRangeHook(), [torch.nan] * 12)
    with pytest.raises(ValueError, match=r'values up to 255, .* white is 65535'):
        run(ValueRangeHook(), [255] * 10, std=65535, unlabelled=True)
