"""Raw batches: images, truths and region maps change together."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from toy import batch

from mmsamdistill.engine.batches import (
    common_regions,
    crop_images,
    images_of,
    iteration_generator,
    select_images,
)


def test_everything_over_an_image_is_cropped_at_the_same_place():
    data = batch(count=3, size=16)
    before = [
        (image, s.gt_img, s.regions)
        for image, s in zip(data['inputs'], data['data_samples'], strict=True)
    ]
    crop_images(data, top=2, left=5, size=7)
    for (image, truth, regions), after, sample in zip(
        before, data['inputs'], data['data_samples'], strict=True
    ):
        assert torch.equal(after, image[:, 2:9, 5:12])
        assert torch.equal(sample.gt_img, truth[:, 2:9, 5:12])
        assert torch.equal(sample.regions, regions[:, 2:9, 5:12])
        assert sample.metainfo['gt_channel_order'] == 'rgb'


@pytest.mark.parametrize(('top', 'left'), [(10, 0), (0, 10), (-1, 0)])
def test_crops_beyond_the_border_are_refused(top, left):
    with pytest.raises(ValueError, match=r'8x8 at .* 16x16'):
        crop_images(batch(size=16), top, left, 8)


def test_a_map_of_another_size_is_refused():
    data = batch(size=16)
    data['data_samples'][1].set_field(torch.ones(1, 8, 8, dtype=torch.int32), 'regions')
    with pytest.raises(ValueError, match='regions of'):
        crop_images(data, 0, 0, 4)


def test_selected_images_keep_their_samples():
    data = batch(count=3)
    images, samples = list(data['inputs']), list(data['data_samples'])
    select_images(data, [2, 0])
    assert data['inputs'][0] is images[2]
    assert data['inputs'][1] is images[0]
    assert data['data_samples'] == [samples[2], samples[0]]


def test_a_stack_is_as_good_as_a_list():
    data = batch(count=2)
    images = list(data['inputs'])
    data['inputs'] = torch.stack(images)
    assert all(torch.equal(a, b) for a, b in zip(images_of(data), images, strict=True))


@pytest.mark.parametrize(
    'change',
    [
        {'inputs': {'img': torch.zeros(1, 3, 4, 4)}},
        {'inputs': [torch.zeros(5, 3, 4, 4)] * 2},  # videos
        {'inputs': []},
        {'data_samples': None},
        {'data_samples': [1]},
    ],
)
def test_other_batches_are_refused(change):
    with pytest.raises(TypeError):
        images_of({**batch(count=2), **change})


def slow_common_regions(first, second):
    """Same region if and only if both maps say so, by comparing all pairs of pixels."""
    first, second = first.flatten().tolist(), second.flatten().tolist()
    return [
        [bool(a and b and c and d) and (a, c) == (b, d) for b, d in zip(first, second, strict=True)]
        for a, c in zip(first, second, strict=True)
    ]


@pytest.mark.parametrize('lowest', [0, 1])
@pytest.mark.parametrize('dtype', [torch.int32, torch.uint8, torch.int64])
def test_common_regions_are_those_of_both_maps(lowest, dtype):
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randint(lowest, 4, (1, 6, 7), generator=generator).mul(60).to(dtype) for _ in range(2)
    ]
    common = common_regions(*maps)
    assert common.dtype == dtype
    assert sorted(set(common.flatten().tolist())) == list(range(lowest, int(common.max()) + 1))
    flat = common.flatten().tolist()
    assert [[bool(a) and a == b for b in flat] for a in flat] == slow_common_regions(*maps)


def test_common_regions_neither_overflow_nor_fall_together():
    high = torch.tensor([65535, 65534, 65535], dtype=torch.int32)
    assert common_regions(high, high.flip(0)).tolist() == [2, 1, 2]
    few, many = torch.tensor([1, 2, 2]), torch.tensor([5, 1, 3])
    assert common_regions(few, many).tolist() == [1, 2, 3]
    assert common_regions(many, few).tolist() == [3, 1, 2]


def test_each_purpose_process_seed_and_iteration_draws_its_own_numbers(monkeypatch):
    def draw(seed=0, rank=0, iteration=5, purpose='MixupHook'):
        monkeypatch.setattr('mmsamdistill.engine.batches.get_rank', lambda: rank)
        runner = SimpleNamespace(seed=seed, iter=iteration)
        return iteration_generator(runner, purpose).random()

    others = ({}, {'seed': 1}, {'rank': 1}, {'iteration': 6}, {'purpose': 'RandomStateHook'})
    drawn = [draw(**changed) for changed in others]
    assert len(set(drawn)) == len(others)
    assert [draw(**changed) for changed in others] == drawn


def test_common_regions_of_maps_of_different_size_are_refused():
    with pytest.raises(ValueError, match='no one image'):
        common_regions(torch.ones(1, 2), torch.ones(2, 1))


def test_without_any_common_region_there_is_none():
    for first, second in itertools.permutations(
        [torch.zeros(1, 2, 2).int(), torch.ones(1, 2, 2).int()]
    ):
        assert not common_regions(first, second).any()
