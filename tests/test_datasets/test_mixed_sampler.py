import itertools

import pytest
import torch
from torch.utils.data import ConcatDataset, TensorDataset

from mmsamdistill.datasets import MixedSampler

SIZES = (10, 3)


def data():
    return ConcatDataset([TensorDataset(torch.zeros(size)) for size in SIZES])


def batches(sampler, size, count):
    indices = iter(sampler)
    return [list(itertools.islice(indices, size)) for _ in range(count)]


def test_every_batch_has_the_ratio_and_every_image_its_turn():
    drawn = batches(MixedSampler(data(), 8, (3, 1), seed=0), 8, 10)
    for batch in drawn:
        assert [sum(index < 10 for index in batch), sum(index >= 10 for index in batch)] == [6, 2]
    firsts = [index for batch in drawn for index in batch if index < 10]
    assert all(sorted(firsts[k : k + 10]) == list(range(10)) for k in range(0, 60, 10))
    assert firsts[:10] != sorted(firsts[:10])
    seconds = [index for batch in drawn for index in batch if index >= 10]
    assert set(seconds[:3]) == {10, 11, 12}


def test_order_is_the_seeds():
    first, again, other = (MixedSampler(data(), 4, (1, 1), seed=seed) for seed in (0, 0, 1))
    assert batches(first, 4, 5) == batches(again, 4, 5) != batches(other, 4, 5)


def test_data_sets_of_one_size_are_not_drawn_in_step():
    equal = ConcatDataset([TensorDataset(torch.zeros(10)) for _ in range(2)])
    drawn = batches(MixedSampler(equal, 2, (1, 1), seed=0), 2, 10)
    assert [first for first, _ in drawn] != [second - 10 for _, second in drawn]


def test_processes_share_each_data_set(monkeypatch):
    drawn = []
    for rank in (0, 1):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        drawn.append(batches(MixedSampler(data(), 2, (1, 1), seed=0), 2, 5))
    firsts = [index for batch in drawn[0] + drawn[1] for index in batch if index < 10]
    assert sorted(firsts) == list(range(10))


@pytest.mark.parametrize(
    ('ratio', 'size', 'message'),
    [((1,), 8, 'each of 2 datasets'), ((1, 0), 8, 'a share'), ((1, 2), 8, 'multiple of 3')],
)
def test_wrong_ratios_are_named(ratio, size, message):
    with pytest.raises(ValueError, match=message):
        MixedSampler(data(), size, ratio)


def test_one_data_set_has_no_ratio():
    with pytest.raises(TypeError, match='ConcatDataset'):
        MixedSampler(TensorDataset(torch.zeros(3)), 2, (1, 1))
