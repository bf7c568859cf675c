import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mmsamdistill.evaluation.iou import confusion_matrix, iou_per_class, mean_iou

CLASSES = 6


def labels(seed=0, shape=(2, 13, 17), absent=(4,)):
    """Random labels with a tenth ignored; class 4 is nowhere, class 5 only predicted."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, CLASSES - 1, shape, generator=generator)
    prediction = torch.randint(0, CLASSES, shape, generator=generator)
    for each in absent:
        truth[truth == each] = 0
        prediction[prediction == each] = 1
    truth[torch.rand(shape, generator=generator) < 0.1] = 255
    return prediction, truth


def loop_iou(prediction, truth, k, ignored=255):
    """By the definition: sets of pixels, one class."""
    intersection = union = 0
    for p, t in zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if t != ignored:
            intersection += p == k and t == k
            union += p == k or t == k
    return intersection / union if union else math.nan


def test_equals_a_loop_with_absent_classes_and_ignored_pixels():
    prediction, truth = labels()
    values = iou_per_class(confusion_matrix(prediction, truth, CLASSES))
    expected = [loop_iou(prediction, truth, k) for k in range(CLASSES)]
    assert values.numpy() == pytest.approx(expected, nan_ok=True)
    assert math.isnan(values[4])
    assert values[5] == 0  # predicted, but not there
    assert mean_iou(confusion_matrix(prediction, truth, CLASSES)) == pytest.approx(
        np.nanmean(expected)
    )


@pytest.mark.parametrize('absent', [(), (4,), (0, 4)])
def test_equals_torchmetrics(absent):
    prediction, truth = labels(absent=absent)
    confusion = confusion_matrix(prediction, truth, CLASSES)
    options = {'num_classes': CLASSES, 'ignore_index': 255}
    assert torch.equal(confusion, multiclass_confusion_matrix(prediction, truth, **options))
    each = MulticlassJaccardIndex(average='none', **options)(prediction, truth)
    assert iou_per_class(confusion).nan_to_num(0).numpy() == pytest.approx(each.numpy(), abs=1e-6)
    mean = MulticlassJaccardIndex(average='macro', **options)(prediction, truth)
    assert mean_iou(confusion) == pytest.approx(mean.item(), abs=1e-6)


def test_counts_of_batches_add_up():
    parts = [labels(seed) for seed in range(3)]
    whole = [torch.cat(each) for each in zip(*parts, strict=True)]
    total = sum(confusion_matrix(p, t, CLASSES) for p, t in parts)
    assert torch.equal(total, confusion_matrix(*whole, CLASSES))
    # ... which is not the mean of the batches' values.
    single = [mean_iou(confusion_matrix(p, t, CLASSES)) for p, t in parts]
    assert abs(mean_iou(total) - sum(single) / 3) > 1e-6


def test_another_value_can_be_ignored():
    prediction, truth = labels()
    moved = torch.where(truth == 255, -1, truth)
    expected = confusion_matrix(prediction, truth, CLASSES)
    assert torch.equal(confusion_matrix(prediction, moved, CLASSES, ignore_index=-1), expected)


def test_nothing_to_count():
    nothing = confusion_matrix(torch.zeros(4).long(), torch.full((4,), 255), 3)
    assert nothing.tolist() == [[0] * 3] * 3
    assert math.isnan(mean_iou(nothing))


def test_predictions_of_ignored_pixels_may_be_anything():
    prediction, truth = torch.tensor([900, 1]), torch.tensor([255, 1])
    assert confusion_matrix(prediction, truth, 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ('prediction', 'truth', 'text'),
    [
        ([0, 1], [0], 'one shape'),
        ([0, 3], [0, 1], r'prediction must lie in 0\.\.2, got 0\.\.3'),
        ([0, 1], [-1, 1], r'truth must lie in 0\.\.2, got -1\.\.1'),
    ],
)
def test_mistakes(prediction, truth, text):
    with pytest.raises(ValueError, match=text):
        confusion_matrix(torch.tensor(prediction), torch.tensor(truth), 3)
