import copy

import pytest
import torch
from torch import nn

from mmsamdistill.frozen import FrozenNetwork


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_invisible_to_everything_but_to(network):
    owner = nn.Sequential(nn.Linear(1, 1), FrozenNetwork(network))
    assert len(owner.state_dict()) == 2
    assert len(list(owner.parameters())) == 2
    assert not list(owner.buffers())
    owner.train()
    assert not network.training
    assert not network[1].training
    owner.double()
    assert {p.dtype for p in network.parameters()} == {torch.float64}
    assert network[1].running_mean.dtype == torch.float64
    owner.to('meta')
    assert network[0].weight.is_meta


def test_loads_strictly_without_the_network(network):
    owner = nn.Sequential(nn.Linear(1, 1), FrozenNetwork(network))
    owner.load_state_dict(nn.Sequential(nn.Linear(1, 1)).state_dict(), strict=True)


def test_frozen_but_differentiable(network):
    holder = FrozenNetwork(network)
    image = torch.rand(1, 1, 5, 5, requires_grad=True)
    holder.network(image).sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.parameters())


def test_copies_are_independent(network):
    holder = FrozenNetwork(network)
    twin = copy.deepcopy(holder)
    twin.double()
    assert network[0].weight.dtype == torch.float32


def test_empty_and_wrong_contents_are_named():
    with pytest.raises(RuntimeError, match='hold'):
        FrozenNetwork().network  # noqa: B018
    with pytest.raises(TypeError, match='str'):
        FrozenNetwork('vgg')
