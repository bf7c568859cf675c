"""The region map against naive loops, on ordinary and on degenerate maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsamdistill.regions import (
    RegionMap,
    RegionMembership,
    compact_labels,
    labels_to_masks,
    masks_to_labels,
    region_map,
)

settings.register_profile('quiet', deadline=None, max_examples=25)
settings.load_profile('quiet')


def random_labels(seed=0, size=(2, 9, 11), high=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, high, size, generator=generator)


def pairs(labels):
    """(image, label) of each region in the order in which the map numbers them."""
    return [
        (image, label)
        for image, one in enumerate(labels.tolist())
        for label in sorted({value for row in one for value in row} - {0})
    ]


def naive_pool(labels, x):
    rows = [x[n][:, labels[n] == label].mean(dim=1) for n, label in pairs(labels)]
    return torch.stack(rows) if rows else x.new_zeros(0, x.shape[1])


def naive_broadcast(labels, values, background=0.0):
    num, height, width = labels.shape
    result = torch.full((num, values.shape[1], height, width), background, dtype=values.dtype)
    for row, (n, label) in enumerate(pairs(labels)):
        result[n][:, labels[n] == label] = values[row][:, None]
    return result


def naive_weights(labels, size):
    """Dense (K + 1, N, h, w) shares, by a loop over pixels."""
    (num, height, width), (h, w) = labels.shape, size
    known = {pair: row + 1 for row, pair in enumerate(pairs(labels))}
    weights, pixels = np.zeros((len(known) + 1, num, h, w)), np.zeros((num, h, w))
    for n in range(num):
        for y in range(height):
            for x in range(width):
                row = known.get((n, int(labels[n, y, x])), 0)
                weights[row, n, y * h // height, x * w // width] += 1
                pixels[n, y * h // height, x * w // width] += 1
    return torch.from_numpy(weights / pixels)


label_maps = st.builds(
    random_labels,
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    high=st.sampled_from([1, 2, 4, 40]),
)


class TestNumbering:
    def test_ids_are_compact_unique_over_the_batch_and_in_order(self):
        regions = RegionMap.from_labels(torch.tensor([[[3, 0], [900, 3]], [[0, 3], [3, 3]]]))
        assert regions.ids.tolist() == [[[1, 0], [2, 1]], [[0, 3], [3, 3]]]
        assert regions.ids.dtype == torch.int64
        assert regions.num_regions == 3
        assert regions.image_index.tolist() == [0, 0, 1]
        assert regions.sizes().tolist() == [2.0, 1.0, 3.0]
        assert regions.shape == (2, 2, 2)

    @given(label_maps)
    def test_two_pixels_share_an_id_exactly_if_image_and_label_agree(self, labels):
        regions = RegionMap.from_labels(labels)
        expected = torch.zeros_like(labels)
        for row, (n, label) in enumerate(pairs(labels)):
            expected[n][labels[n] == label] = row + 1
        assert torch.equal(regions.ids, expected)
        assert regions.image_index.tolist() == [n for n, _ in pairs(labels)]

    @pytest.mark.parametrize(
        'dtype', [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
    )
    def test_every_integer_dtype(self, dtype):
        labels = random_labels(high=100)
        regions = RegionMap.from_labels(labels.to(dtype))
        assert torch.equal(regions.ids, RegionMap.from_labels(labels).ids)

    @pytest.mark.parametrize('factor', [1_000, 65_536, 2**31 // 8, 2**60])
    def test_wide_and_sparse_labels(self, factor):
        labels = random_labels(high=7)
        regions = RegionMap.from_labels(labels * factor)
        assert torch.equal(regions.ids, RegionMap.from_labels(labels).ids)

    def test_wide_labels_without_background(self):
        labels = torch.tensor([[[2**40, 2**41]]])
        assert RegionMap.from_labels(labels).ids.tolist() == [[[1, 2]]]

    def test_four_thousand_regions_in_images_with_different_counts(self):
        many = torch.arange(4096).view(1, 64, 64)
        labels = torch.cat([many, torch.zeros_like(many), torch.full_like(many, 70_000)])
        regions = RegionMap.from_labels(labels)
        assert regions.num_regions == 4096
        assert torch.bincount(regions.image_index, minlength=3).tolist() == [4095, 0, 1]
        x = torch.rand(3, 2, 64, 64)
        restored = regions.broadcast(regions.pool(x))
        assert torch.equal(restored[0, :, 1:], x[0, :, 1:])  # one-pixel regions keep their value
        torch.testing.assert_close(restored[2, :, 5, 5], x[2].mean(dim=(1, 2)))

    def test_idempotent(self):
        regions = RegionMap.from_labels(random_labels())
        assert RegionMap.from_labels(regions) is regions
        assert torch.equal(RegionMap.from_labels(regions.ids).ids, regions.ids)

    def test_input_is_not_changed_and_layout_does_not_matter(self):
        labels = random_labels(size=(2, 8, 8)).transpose(1, 2)
        before = labels.clone()
        assert not labels.is_contiguous()
        regions = RegionMap.from_labels(labels)
        assert torch.equal(labels, before)
        assert torch.equal(regions.ids, RegionMap.from_labels(labels.contiguous()).ids)

    def test_to_returns_the_same_map_on_the_same_device(self):
        regions = RegionMap.from_labels(random_labels())
        assert regions.to('cpu') is regions
        assert regions.to('meta').ids.device.type == 'meta'
        assert repr(regions) == 'RegionMap(shape=(2, 9, 11), num_regions=10)'

    def test_empty_batch(self):
        regions = RegionMap.from_labels(torch.zeros(0, 4, 4, dtype=torch.int32))
        assert regions.num_regions == 0
        assert regions.broadcast(regions.pool(torch.zeros(0, 3, 4, 4))).shape == (0, 3, 4, 4)

    @pytest.mark.parametrize(
        ('labels', 'error', 'message'),
        [
            (torch.tensor([[[0, -1]]]), ValueError, 'at least 0.*got -1'),
            (torch.zeros(1, 2, 2), TypeError, 'integer dtype, got torch.float32'),
            (torch.zeros(2, 2, dtype=torch.int64), ValueError, r'\(N, H, W\), got \(2, 2\)'),
            (np.zeros((1, 2, 2), np.int64), TypeError, 'torch.Tensor, got ndarray'),
        ],
    )
    def test_errors(self, labels, error, message):
        with pytest.raises(error, match=message):
            RegionMap.from_labels(labels)


class TestPoolAndBroadcast:
    @given(label_maps, st.integers(1, 4))
    def test_against_loops(self, labels, channels):
        regions = RegionMap.from_labels(labels)
        num, height, width = labels.shape
        x = torch.rand(num, channels, height, width, dtype=torch.float64)
        pooled = regions.pool(x)
        torch.testing.assert_close(pooled, naive_pool(labels, x), rtol=1e-13, atol=1e-13)
        expected = naive_broadcast(labels, pooled, background=-2.0)
        assert torch.equal(regions.broadcast(pooled, background=-2.0), expected)

    @pytest.mark.parametrize('most', [0, 10_000], ids=['one sum a region', 'striped sums'])
    def test_both_ways_of_summing_agree_with_loops(self, most, monkeypatch):
        monkeypatch.setattr(region_map, '_MOST_STRIPED_REGIONS', most)
        labels = random_labels()
        regions = RegionMap.from_labels(labels)
        x = torch.rand(2, 3, 9, 11, dtype=torch.float64, requires_grad=True)
        torch.testing.assert_close(regions.pool(x), naive_pool(labels, x))
        values = torch.rand(regions.num_regions, 3, dtype=torch.float64, requires_grad=True)
        assert torch.equal(regions.broadcast(values), naive_broadcast(labels, values))
        weight = torch.rand(2, 3, 9, 11, dtype=torch.float64)
        (grad,) = torch.autograd.grad((regions.broadcast(values) * weight).sum(), values)
        expected = naive_pool(labels, weight) * regions.sizes()[:, None].double()
        torch.testing.assert_close(grad, expected)

    def test_non_contiguous_input(self):
        labels = random_labels()
        x = torch.rand(2, 9, 11, 3).permute(0, 3, 1, 2)
        regions = RegionMap.from_labels(labels)
        torch.testing.assert_close(regions.pool(x), naive_pool(labels, x))
        values = torch.rand(4, regions.num_regions).t()
        assert torch.equal(regions.broadcast(values), naive_broadcast(labels, values))

    @pytest.mark.parametrize('high', [2, 50, 1000])
    def test_permuting_labels_leaves_the_image_bit_identical(self, high):
        labels = random_labels(size=(2, 16, 16), high=high)
        permutation = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + torch.randperm(high)])
        x = torch.randn(2, 3, 16, 16)
        first, second = RegionMap.from_labels(labels), RegionMap.from_labels(permutation[labels])
        assert high == 2 or not torch.equal(first.ids, second.ids)
        assert torch.equal(first.broadcast(first.pool(x)), second.broadcast(second.pool(x)))
        assert torch.equal(first.boundaries(), second.boundaries())
        grid = torch.randn(2, 3, 5, 5)
        before = first.broadcast(first.membership((5, 5)).pool(grid))
        after = second.broadcast(second.membership((5, 5)).pool(grid))
        assert torch.equal(before, after)

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_half_types_accumulate_in_float32(self, dtype):
        regions = RegionMap.from_labels(torch.ones(1, 512, 512, dtype=torch.uint8))
        x = torch.full((1, 2, 512, 512), 0.75, dtype=dtype)
        pooled = regions.pool(x)  # the sum, 196608, is infinite in float16
        assert pooled.dtype == dtype
        assert torch.equal(pooled, torch.full((1, 2), 0.75, dtype=dtype))
        values = torch.ones(1, 2, dtype=dtype, requires_grad=True)
        image = regions.broadcast(values)
        assert image.dtype == dtype
        (image * 0.125).sum(dtype=torch.float32).backward()
        assert torch.equal(values.grad, torch.full((1, 2), 512 * 512 / 8, dtype=dtype))
        member = regions.membership((256, 256)).pool(x[..., ::2, ::2])
        assert member.dtype == dtype
        assert torch.equal(member, pooled)

    def test_float32_and_float64_keep_their_dtype(self):
        regions = RegionMap.from_labels(random_labels())
        for dtype in (torch.float32, torch.float64):
            assert regions.pool(torch.rand(2, 3, 9, 11, dtype=dtype)).dtype == dtype

    def test_gradients(self):
        regions = RegionMap.from_labels(random_labels(size=(2, 4, 5), high=4))
        x = torch.rand(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(regions.pool, (x,))
        values = torch.rand(regions.num_regions, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(regions.broadcast, (values,))
        member = regions.membership((2, 3))
        cells = torch.rand(2, 2, 2, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(member.pool, (cells,))
        assert torch.autograd.gradgradcheck(lambda x: regions.pool(x).square(), (x,))

    def test_no_region_gives_empty_results_and_zero_gradients(self):
        regions = RegionMap.from_labels(torch.zeros(2, 4, 4, dtype=torch.int32))
        x = torch.rand(2, 3, 4, 4, requires_grad=True)
        pooled = regions.pool(x)
        assert pooled.shape == (0, 3)
        image = regions.broadcast(pooled, background=0.5)
        assert torch.equal(image, torch.full((2, 3, 4, 4), 0.5))
        (image.sum() + regions.membership((2, 2)).pool(x[..., ::2, ::2]).sum()).backward()
        assert torch.equal(x.grad, torch.zeros_like(x))
        assert regions.sizes().shape == regions.membership((2, 2)).mass.shape == (0,)
        assert not regions.boundaries().any()

    def test_background_pixels_do_not_reach_any_region(self):
        labels = torch.tensor([[[0, 1], [1, 2]]])
        x = torch.tensor([[[[float('nan'), 1.0], [3.0, 5.0]]]], requires_grad=True)
        pooled = RegionMap.from_labels(labels).pool(x)
        assert pooled.flatten().tolist() == [2.0, 5.0]
        pooled.sum().backward()
        assert x.grad.flatten().tolist() == [0.0, 0.5, 0.5, 1.0]

    def test_errors(self):
        regions = RegionMap.from_labels(random_labels())
        with pytest.raises(ValueError, match=r'x must be \(2, C, 9, 11\).*got \(2, 3, 9, 10\)'):
            regions.pool(torch.rand(2, 3, 9, 10))
        with pytest.raises(TypeError, match=r'floating-point tensor, got torch\.int64'):
            regions.pool(torch.zeros(2, 3, 9, 11, dtype=torch.int64))
        with pytest.raises(ValueError, match=r'a row a region, got \(3, 2\)'):
            regions.broadcast(torch.rand(3, 2))
        with pytest.raises(TypeError, match='floating-point tensor'):
            regions.broadcast(torch.zeros(10, 2, dtype=torch.int64))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_gives_the_same_results():
    regions = RegionMap.from_labels(random_labels(size=(2, 32, 32), high=50))
    moved = RegionMap.from_labels(random_labels(size=(2, 32, 32), high=50).cuda())
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(moved.ids.cpu(), regions.ids)
    torch.testing.assert_close(moved.pool(x.cuda()).cpu(), regions.pool(x))
    image = moved.broadcast(regions.sizes()[:, None].cuda()).cpu()
    assert torch.equal(image, regions.broadcast(regions.sizes()[:, None]))
    assert torch.equal(moved.boundaries().cpu(), regions.boundaries())
    pooled = moved.membership((8, 8)).pool(x[..., ::4, ::4].cuda()).cpu()
    torch.testing.assert_close(pooled, regions.membership((8, 8)).pool(x[..., ::4, ::4]))


class TestBoundaries:
    @given(label_maps)
    def test_against_loops(self, labels):
        num, height, width = labels.shape
        expected = torch.zeros(num, 1, height, width, dtype=torch.bool)
        for n, y, x in np.ndindex(num, height, width):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < height and 0 <= u < width and labels[n, v, u] != labels[n, y, x]:
                    expected[n, 0, y, x] = True
        assert torch.equal(RegionMap.from_labels(labels).boundaries(), expected)

    def test_the_border_of_the_image_is_none(self):
        regions = RegionMap.from_labels(torch.ones(1, 5, 5, dtype=torch.uint8))
        assert not regions.boundaries().any()


class TestMembership:
    @given(label_maps, st.data())
    def test_against_loops(self, labels, data):
        num, height, width = labels.shape
        size = data.draw(st.tuples(st.integers(1, height), st.integers(1, width)))
        regions = RegionMap.from_labels(labels)
        member = regions.membership(size)
        weights = naive_weights(labels, size)
        dense = torch.zeros(weights.shape[0], num * size[0] * size[1])
        dense[member.region, member.cell] = member.weight
        torch.testing.assert_close(dense.view(weights.shape), weights.float())
        assert len(member.cell) == (weights > 0).sum()  # each pair once
        torch.testing.assert_close(dense.sum(0), torch.ones(num * size[0] * size[1]))
        torch.testing.assert_close(member.mass, weights[1:].sum(dim=(1, 2, 3)).float())
        features = torch.rand(num, 2, *size, dtype=torch.float64)
        expected = torch.einsum('knyx,ncyx->kc', weights[1:], features)
        expected = expected / weights[1:].sum(dim=(1, 2, 3))[:, None]
        torch.testing.assert_close(member.pool(features), expected, rtol=1e-6, atol=1e-6)

    def test_at_full_resolution_it_is_the_map_itself(self):
        labels = random_labels()
        regions = RegionMap.from_labels(labels)
        member = regions.membership((9, 11))
        assert isinstance(member, RegionMembership)
        assert torch.equal(member.region, regions.ids.flatten())
        assert torch.equal(member.mass, regions.sizes())
        x = torch.rand(2, 3, 9, 11)
        torch.testing.assert_close(member.pool(x), regions.pool(x))

    def test_thin_regions_survive(self):
        labels = torch.zeros(1, 64, 64, dtype=torch.int64)
        labels[0, :, 31] = 1
        member = RegionMap.from_labels(labels).membership((4, 4))
        assert member.mass.tolist() == [4 / 16]

    def test_errors(self):
        regions = RegionMap.from_labels(random_labels())
        for size in ((10, 11), (9, 12), (0, 3)):
            with pytest.raises(ValueError, match=f'9x11, got {size[0]}x{size[1]}'):
                regions.membership(size)
        with pytest.raises(ValueError, match=r'features must be \(2, C, 3, 3\)'):
            regions.membership((3, 3)).pool(torch.rand(2, 4, 3, 4))


class TestCompactLabels:
    @given(label_maps)
    def test_against_numpy(self, labels):
        compact = compact_labels(labels * 37)
        for image, result in zip(labels.numpy(), compact.numpy(), strict=True):
            values = np.union1d(image, [0])
            assert np.array_equal(result, np.searchsorted(values, image))

    @pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32, np.int64])
    def test_kind_dtype_and_shape_are_kept(self, dtype):
        array = np.array([[0, 200], [7, 200]], dtype)
        result = compact_labels(array)
        assert result.dtype == dtype
        assert result.tolist() == [[0, 2], [1, 2]]
        tensor = compact_labels(torch.from_numpy(array)[None])
        assert tensor.shape == (1, 2, 2)
        assert tensor.dtype == torch.from_numpy(array).dtype

    def test_floats_are_refused(self):
        with pytest.raises(TypeError, match='integer dtype, got float32'):
            compact_labels(np.zeros((2, 2), np.float32))


class TestMasks:
    def test_small_masks_lie_on_large_ones_whatever_their_order(self):
        masks = torch.zeros(3, 6, 6, dtype=torch.bool)
        masks[0, 2:4, 2:4] = masks[1, :5, :5] = masks[2, 3:, 3:] = True
        labels = masks_to_labels(masks)
        assert labels.dtype == torch.int64
        expected = np.zeros((6, 6), int)
        expected[:5, :5], expected[3:, 3:], expected[2:4, 2:4] = 2, 3, 1
        assert np.array_equal(labels, expected)

    @given(st.integers(0, 1000), st.integers(0, 6))
    def test_against_a_loop(self, seed, count):
        masks = np.random.default_rng(seed).random((count, 4, 5)) < 0.4
        expected = np.zeros((4, 5), int)
        for index in sorted(range(count), key=lambda i: -masks[i].sum()):
            expected[masks[index]] = index + 1
        result = masks_to_labels(masks)
        assert result.dtype == np.int32
        assert np.array_equal(result, expected)
        assert np.array_equal(masks_to_labels(torch.from_numpy(masks * 255)), expected)

    @given(label_maps)
    def test_there_and_back(self, labels):
        masks = labels_to_masks(labels[0])
        assert masks.dtype == torch.bool
        assert len(masks) == len(set(labels[0].flatten().tolist()) - {0})
        assert torch.equal(masks_to_labels(masks), compact_labels(labels[0]))

    def test_arrays(self):
        masks = labels_to_masks(np.array([[7, 0, 300]], np.uint16))
        assert masks.tolist() == [[[True, False, False]], [[False, False, True]]]

    def test_errors(self):
        with pytest.raises(ValueError, match=r'\(M, H, W\), got \(2, 2\)'):
            masks_to_labels(torch.zeros(2, 2, dtype=torch.bool))
        with pytest.raises(ValueError, match=r'\(H, W\), got \(1, 2, 2\)'):
            labels_to_masks(torch.zeros(1, 2, 2, dtype=torch.int64))
