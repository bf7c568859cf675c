"""The interface of region sources, cached regions and the controls."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmagic.registry import MODELS

from mmsamdistill.regions import RegionMap
from mmsamdistill.sources import (
    CachedRegions,
    LearnedEdgeRegions,
    NoRegions,
    RegionSource,
    SAMRegions,
    ShuffledRegions,
    SuperpixelRegions,
)


class Fixed(RegionSource):
    """Returns the labels it was given."""

    def __init__(self, labels, online=True):
        super().__init__()
        self.labels = labels
        self.online = online

    def find(self, images, data_samples=None):
        return self.labels

    def describe(self):
        return {'type': 'Fixed'}


def sample(regions, **metainfo):
    return SimpleNamespace(regions=regions, metainfo=metainfo)


class TestInterface:
    @pytest.mark.parametrize(
        'kind',
        [
            SAMRegions,
            LearnedEdgeRegions,
            SuperpixelRegions,
            CachedRegions,
            NoRegions,
            ShuffledRegions,
        ],
    )
    def test_registered_without_parameters_or_state(self, kind):
        assert MODELS.module_dict[kind.__name__] is kind
        source = kind(NoRegions()) if kind is ShuffledRegions else kind()
        assert not list(source.parameters())
        assert not source.state_dict()
        assert source.online is (kind is not CachedRegions)

    def test_the_result_is_int64_without_gradient_on_detached_images(self):
        class Mean(RegionSource):
            def find(self, images, data_samples=None):
                assert not images.requires_grad
                assert not torch.is_grad_enabled()
                return (images.mean(1) > 0.5).to(torch.uint8)

        labels = Mean()(torch.rand(2, 3, 4, 5, requires_grad=True))
        assert labels.dtype == torch.int64
        assert labels.shape == (2, 4, 5)
        assert not labels.requires_grad

    @pytest.mark.parametrize(
        ('images', 'error', 'message'),
        [
            (torch.rand(3, 4, 4), ValueError, r'\(N, 3, H, W\), got \(3, 4, 4\)'),
            (torch.rand(1, 4, 4, 3), ValueError, r'\(N, 3, H, W\)'),
            (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, 'divide 8 bits'),
            ([1], TypeError, 'torch.Tensor, got list'),
        ],
    )
    def test_wrong_images(self, images, error, message):
        with pytest.raises(error, match=message):
            NoRegions()(images)

    def test_a_source_that_returns_another_size(self):
        source = Fixed(torch.zeros(1, 2, 2, dtype=torch.int64))
        with pytest.raises(ValueError, match=r'Fixed.find returned labels of shape \(1, 2, 2\)'):
            source(torch.rand(1, 3, 4, 4))

    def test_the_base_class_says_what_is_to_be_implemented(self):
        with pytest.raises(NotImplementedError, match='RegionSource must implement find'):
            RegionSource()(torch.rand(1, 3, 4, 4))
        with pytest.raises(NotImplementedError, match='describe'):
            RegionSource().describe()

    @pytest.mark.parametrize(
        'source', [SuperpixelRegions('slic'), CachedRegions(), ShuffledRegions(NoRegions())]
    )
    def test_descriptions_are_json(self, source):
        assert json.loads(json.dumps(source.describe())) == source.describe()
        assert source.describe()['type'] == type(source).__name__


class TestCachedRegions:
    @pytest.mark.parametrize('dtype', [torch.int32, torch.uint8, torch.int64])
    def test_takes_the_maps_of_the_batch(self, dtype):
        labels = torch.randint(0, 9, (2, 4, 5)).to(dtype)
        images = torch.rand(2, 3, 4, 5)
        for regions in (labels, labels.unsqueeze(1)):
            assert torch.equal(CachedRegions()(images, sample(regions)), labels.long())

    def test_takes_a_list_of_samples(self):
        labels = torch.randint(0, 9, (2, 1, 4, 5))
        result = CachedRegions()(torch.rand(2, 3, 4, 5), [sample(one) for one in labels])
        assert torch.equal(result, labels[:, 0])

    @pytest.mark.parametrize('data_samples', [None, SimpleNamespace(), [], [SimpleNamespace()]])
    def test_missing_regions_say_how_to_add_them(self, data_samples):
        with pytest.raises(KeyError, match="type='RegionDataset'"):
            CachedRegions()(torch.rand(1, 3, 4, 4), data_samples)

    @pytest.mark.parametrize(
        ('metainfo', 'named'),
        [
            ({'gt_path': ['a/1.png', 'a/2.png']}, 'a/1.png, a/2.png'),
            ({'img_path': 'b/3.png'}, 'b/3.png'),
            ({}, 'image paths unknown'),
        ],
    )
    def test_another_size_names_the_images(self, metainfo, named):
        data_samples = sample(torch.zeros(2, 1, 4, 4, dtype=torch.int32), **metainfo)
        with pytest.raises(ValueError, match=rf'\(2, 4, 4\).*\(2, 3, 4, 5\).*{named}'):
            CachedRegions()(torch.rand(2, 3, 4, 5), data_samples)

    def test_maps_of_different_sizes_in_a_list(self):
        samples = [sample(torch.zeros(1, n, 4, dtype=torch.int32), gt_path=f'{n}') for n in (4, 5)]
        with pytest.raises(ValueError, match=r'differ in size.*\(4, 5\)'):
            CachedRegions()(torch.rand(2, 3, 4, 4), samples)

    def test_maps_that_became_floats(self):
        with pytest.raises(TypeError, match=r'must stay integers.*torch\.float32'):
            CachedRegions()(torch.rand(1, 3, 4, 4), sample(torch.zeros(1, 1, 4, 4)))


class TestControls:
    def test_no_regions(self):
        labels = NoRegions()(torch.rand(2, 3, 4, 5))
        assert labels.shape == (2, 4, 5)
        assert RegionMap.from_labels(labels).num_regions == 0

    @staticmethod
    def blocks(num):
        """Maps whose regions have sizes that no other map's have."""
        labels = torch.ones(num, 8, 12, dtype=torch.int64)
        for n in range(num):
            labels[n, : n + 2, : n + 3] = 2
        return labels

    def test_batch_mode_keeps_each_map_but_on_another_image(self):
        labels = self.blocks(3)
        source = ShuffledRegions(Fixed(labels))
        corners = set()
        for seed in range(20):
            torch.manual_seed(seed)
            result = source(torch.rand(3, 3, 8, 12))
            sizes = [int((one == 2).sum()) for one in result]
            assert sorted(sizes) == [6, 12, 20]
            assert all(moved != kept for moved, kept in zip(sizes, [6, 12, 20], strict=True))
            # A whole map is only flipped: its corner block is still a corner block.
            assert all(one[::7, ::11].eq(2).sum() == 1 for one in result)
            corners |= {tuple(one[::7, ::11].eq(2).nonzero()[0].tolist()) for one in result}
        assert len(corners) == 4  # flipped along neither, either and both axes

    def test_roll_mode_moves_the_image_s_own_map(self):
        labels = torch.arange(2 * 8 * 12).view(2, 8, 12)
        source = ShuffledRegions(Fixed(labels), mode='roll')
        for seed in range(20):
            torch.manual_seed(seed)
            result = source(torch.rand(2, 3, 8, 12))
            assert torch.equal(result.flatten(1).sort().values, labels.flatten(1))
            flips = [labels[0].flip(axes) for axes in ([], [0], [1], [0, 1])]
            for flipped in flips:
                assert not torch.equal(result[0], flipped)
            # Whatever the flips, the shift is one of at least a quarter of each side.
            top = torch.stack([flipped.roll((y, x), (0, 1)) for flipped in flips
                               for y in range(2, 7) for x in range(3, 10)])  # fmt: skip
            assert (top == result[0]).all(dim=(1, 2)).any()

    def test_a_batch_of_one_is_rolled(self):
        labels = self.blocks(1)
        images = torch.rand(1, 3, 8, 12)
        torch.manual_seed(3)
        expected = ShuffledRegions(Fixed(labels), mode='roll')(images)
        torch.manual_seed(3)
        assert torch.equal(ShuffledRegions(Fixed(labels), mode='batch')(images), expected)
        assert not torch.equal(expected, labels)

    def test_draws_from_torch_s_random_state(self):
        source = ShuffledRegions(Fixed(self.blocks(4)))
        images = torch.rand(4, 3, 8, 12)
        torch.manual_seed(0)
        first, second = source(images), source(images)
        assert not torch.equal(first, second)
        torch.manual_seed(0)
        assert torch.equal(source(images), first)

    @pytest.mark.parametrize('mode', ['batch', 'roll'])
    def test_one_pixel_and_empty_maps(self, mode):
        source = ShuffledRegions(NoRegions(), mode=mode)
        assert not source(torch.rand(2, 3, 1, 1)).any()

    def test_online_follows_the_wrapped_source(self, monkeypatch):
        # The registry would import all of MMagic's models first; ours are registered already.
        monkeypatch.setattr(MODELS, '_imported', True)
        assert ShuffledRegions(SuperpixelRegions()).online is True
        shuffled = ShuffledRegions({'type': 'CachedRegions'})
        assert shuffled.online is False
        labels = torch.zeros(2, 1, 4, 4, dtype=torch.int32)
        labels[0] = 5
        result = shuffled(torch.rand(2, 3, 4, 4), sample(labels))
        assert torch.equal(result[1], torch.full((4, 4), 5))

    def test_description_names_mode_and_source(self):
        description = ShuffledRegions(SuperpixelRegions(), mode='roll').describe()
        assert description['mode'] == 'roll'
        assert description['source'] == SuperpixelRegions().describe()

    def test_errors(self):
        with pytest.raises(ValueError, match="mode='flip' is not one of"):
            ShuffledRegions(NoRegions(), mode='flip')
        with pytest.raises(TypeError, match=r'its config.*got str'):
            ShuffledRegions('CachedRegions')
