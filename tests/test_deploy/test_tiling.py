import itertools

import pytest
import torch
from torch import nn

from mmsamdistill.deploy.tiling import fade, restore_tiled, windows


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)]
    return nn.Sequential(*layers).eval()


def run(network):
    return lambda piece: network(piece[None])[0].detach()


@pytest.mark.parametrize('size', [(96, 80), (33, 47), (16, 100), (10, 10), (65, 49)])
@pytest.mark.parametrize(('tile', 'overlap'), [(32, 16), (48, 16), (64, 32)])
def test_equals_the_whole_image_if_the_overlap_covers_what_the_network_sees(
    network, size, tile, overlap
):
    image = torch.rand(3, *size)
    tiled = restore_tiled(run(network), image, tile, overlap)
    assert torch.allclose(tiled, run(network)(image), atol=1e-6)


def test_strided_networks_stay_on_their_grid():
    torch.manual_seed(0)
    down, up = nn.Conv2d(3, 8, 2, stride=2), nn.ConvTranspose2d(8, 3, 2, stride=2)
    network = nn.Sequential(down, nn.ReLU(), up)
    image = torch.rand(3, 90, 74)
    tiled = restore_tiled(run(network), image, 32, 16)
    assert torch.allclose(tiled, run(network)(image), atol=1e-6)


def test_overlap_matters(network):
    image = torch.rand(3, 64, 64)
    whole = run(network)(image)
    seams = restore_tiled(run(network), image, 32, 0)
    assert not torch.allclose(seams, whole, atol=1e-4)
    assert torch.allclose(seams[:, :29, :29], whole[:, :29, :29], atol=1e-6)


def test_windows_are_no_larger_than_the_tile(network):
    seen = []

    def restore(piece):
        seen.append(tuple(piece.shape[-2:]))
        return piece

    restore_tiled(restore, torch.rand(3, 100, 30), 48, 16)
    assert seen == [(48, 30), (48, 30), (36, 30)]


@pytest.mark.parametrize('length', [1, 15, 16, 17, 63, 64, 65, 127, 400])
@pytest.mark.parametrize(('tile', 'overlap'), [(32, 0), (32, 16), (64, 32), (96, 80)])
def test_windows_cover_the_axis(length, tile, overlap):
    cut = windows(length, tile, overlap)
    assert cut[0][0] == 0
    assert cut[-1][1] == length
    for (start, end), (after, _) in itertools.pairwise(cut):
        assert start < after
        assert end - after >= overlap
    assert all(start % 16 == 0 and end - start <= tile for start, end in cut)
    assert len(cut) == 1 or min(end - start for start, end in cut) > tile - 16
    total = torch.zeros(length)
    for start, end in cut:
        total[start:end] += fade(start, end, length, overlap)
    assert total.min() > 0.4


def test_neighbours_fade_into_one():
    first, second = fade(0, 64, 112, 16), fade(48, 112, 112, 16)
    assert torch.allclose(first[48:] + second[:16], torch.ones(16))
    assert (second[:4] == 0).all()
    assert (first[:48] == 1).all()


@pytest.mark.parametrize(('tile', 'overlap'), [(30, 16), (32, 8), (16, 16), (0, 0), (32, -16)])
def test_refuses_sizes_that_make_no_sense(tile, overlap):
    with pytest.raises(ValueError, match=r'tile|overlap'):
        restore_tiled(lambda x: x, torch.rand(3, 8, 8), tile, overlap)


def test_refuses_a_change_of_size():
    with pytest.raises(ValueError, match='keeps the size'):
        restore_tiled(lambda x: x[..., ::2], torch.rand(3, 64, 64), 32, 16)
