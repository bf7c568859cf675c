"""Mixtures are of images, truths and regions alike, as often and as strongly as published."""

import numpy as np
import pytest
import torch
from toy import batch

from mmsamdistill.engine import MixupHook
from mmsamdistill.engine.batches import common_regions
from mmsamdistill.engine.hooks.mixup import mix_batch


class FakeRunner:
    """What the hook needs of a runner."""

    seed = 0

    def __init__(self, iteration):
        self.iter = iteration


def mixed(iteration, count=4, **arguments):
    """Weights of the images in each mixture, and the batch: images are basis vectors."""
    data = batch(count=count, size=4)
    basis = torch.eye(count).view(count, count, 1, 1).expand(-1, -1, 4, 4)
    data['inputs'] = list(basis)
    for sample, vector in zip(data['data_samples'], basis, strict=True):
        sample.set_field(2 * vector, 'gt_img')
    MixupHook(**arguments).before_train_iter(FakeRunner(iteration), 0, data)
    return torch.stack(data['inputs'])[..., 0, 0], data


def test_mixtures_are_weighted_means_of_image_and_truth():
    data = batch(count=3)
    images, truths = list(data['inputs']), [s.gt_img.clone() for s in data['data_samples']]
    partners, weights = np.array([1, 2, 0]), np.array([0.25, 0.5, 1.0])
    mix_batch(data, partners, weights)
    for index, (partner, weight) in enumerate(zip(partners, weights, strict=True)):
        for values, result in (
            (images, data['inputs'][index]),
            (truths, data['data_samples'][index].gt_img),
        ):
            expected = weight * values[index] + (1 - weight) * values[partner]
            torch.testing.assert_close(result, expected)


def test_a_mixture_has_the_regions_common_to_both():
    data = batch(count=3)
    regions = [sample.regions.clone() for sample in data['data_samples']]
    mix_batch(data, np.array([1, 0, 2]), np.full(3, 0.5))
    first, second, third = (sample.regions for sample in data['data_samples'])
    assert torch.equal(first, common_regions(regions[0], regions[1]))
    assert torch.equal(second, common_regions(regions[1], regions[0]))
    assert torch.equal(third, regions[2])  # mixed with itself


def test_eight_bits_are_mixed_without_rounding():
    data = batch(count=2, regions=False)
    data['inputs'] = [torch.full((3, 2, 2), value, dtype=torch.uint8) for value in (250, 255)]
    mix_batch(data, np.array([1, 0]), np.array([0.25, 0.25]))
    assert data['inputs'][0].unique().tolist() == [253.75]


def test_truths_are_mixed_as_their_images():
    for iteration in range(20):
        weights, data = mixed(iteration)
        truths = torch.stack([sample.gt_img for sample in data['data_samples']])[..., 0, 0]
        torch.testing.assert_close(truths, 2 * weights)
        torch.testing.assert_close(weights.sum(1), torch.ones(4))


def changed(weights):
    return not torch.equal(weights, torch.eye(len(weights)))


def test_half_of_the_batches_are_mixed_with_one_weight():
    results = [mixed(iteration)[0] for iteration in range(400)]
    # A permutation of four is the identity once in 24 times, and then nothing changes.
    assert np.mean([changed(w) for w in results]) == pytest.approx(0.5 * 23 / 24, abs=0.08)
    for weights in filter(changed, results):
        own = weights.diagonal()[weights.diagonal() < 0.999999]
        assert own.max() - own.min() < 1e-6


def test_weights_are_of_the_beta_distribution():
    arguments = {'alpha': 0.6, 'probability': 1.0, 'per_image': True}
    own = [
        weight
        for iteration in range(300)
        for weight in mixed(iteration, **arguments)[0].diagonal().tolist()
        if weight < 0.999999
    ]
    # Variance of Beta(a, a) is 1 / (4 (2a + 1)).
    assert np.mean(own) == pytest.approx(0.5, abs=0.04)
    assert np.var(own) == pytest.approx(1 / (4 * 2.2), abs=0.015)


def test_weights_differ_between_images_only_if_told_so():
    weights = mixed(3, probability=1.0, per_image=True)[0]
    own = weights.diagonal()[weights.diagonal() < 0.999999]
    assert own.max() - own.min() > 1e-3


def test_nothing_is_mixed_before_the_beginning():
    arguments = {'probability': 1.0, 'begin': 5}
    assert not any(changed(mixed(iteration, **arguments)[0]) for iteration in range(5))
    for iteration in range(5, 10):  # the first one included
        begun = mixed(iteration, probability=1.0, begin=iteration)[0]
        assert torch.equal(begun, mixed(iteration, probability=1.0)[0])


def test_the_same_iteration_is_mixed_in_the_same_way():
    assert torch.equal(mixed(7, probability=1.0)[0], mixed(7, probability=1.0)[0])
    assert not torch.equal(mixed(7, probability=1.0)[0], mixed(8, probability=1.0)[0])


@pytest.mark.parametrize(
    'arguments', [{'alpha': 0.0}, {'probability': 1.5}, {'probability': -0.1}, {'begin': -1}]
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        MixupHook(**arguments)
