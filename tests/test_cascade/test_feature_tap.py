"""FeatureTap: what it collects, and that it leaves nothing behind."""

import gc
import weakref

import pytest
import torch
from torch import nn

from mmsamdistill.cascade.feature_tap import FeatureTap


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def hooks(module):
    return sum(len(m._forward_hooks) for m in module.modules())


def test_collects_what_the_modules_return():
    network, x = Tiny(), torch.rand(5, 3)
    with FeatureTap(network, ['body.0', 'head']) as tap:
        output = network(x)
        assert set(tap.features) == {'body.0', 'head'}
        torch.testing.assert_close(
            tap.features['body.0'], nn.functional.linear(x, *network.body[0].parameters())
        )
        assert tap.features['head'] is output


def test_changes_nothing_and_keeps_the_graph():
    network, x = Tiny(), torch.rand(5, 3)
    expected = network(x)
    with FeatureTap(network, ['body.0']) as tap:
        assert torch.equal(network(x), expected)
        tap.features['body.0'].sum().backward()
    assert network.body[0].weight.grad is not None
    assert network.head.weight.grad is None


def test_removes_hooks_and_empties_its_buffer():
    network = Tiny()
    with FeatureTap(network, ['body', 'head']) as tap:
        network(torch.rand(5, 3))
        kept = weakref.ref(tap.features['body'])
        assert hooks(network) == 2
    gc.collect()
    assert hooks(network) == 0
    assert tap.features == {}
    assert kept() is None
    network(torch.rand(5, 3))
    assert tap.features == {}


def test_cleans_up_after_an_exception():
    network = Tiny()
    tap = FeatureTap(network, ['body'])
    with pytest.raises(RuntimeError), tap:
        network(torch.rand(5, 7))
    assert hooks(network) == 0
    assert tap.features == {}


def test_can_be_used_again():
    network = Tiny()
    tap = FeatureTap(network, ['body'])
    for _ in range(2):
        with tap:
            network(torch.rand(5, 3))
            assert list(tap.features) == ['body']
            assert hooks(network) == 1


def test_keeps_the_last_of_several_runs():
    network = Tiny()
    first, last = torch.rand(2, 5, 3)
    with FeatureTap(network, ['head']) as tap:
        network(first)
        output = network(last)
        assert tap.features['head'] is output


def test_two_taps_do_not_mix():
    network, other, x = Tiny(), Tiny(), torch.rand(5, 3)
    with FeatureTap(network, ['head']) as one, FeatureTap(other, ['head']) as two:
        output = network(x)
        assert one.features['head'] is output
        assert two.features == {}


def test_no_names_hook_nothing():
    network = Tiny()
    with FeatureTap(network, ()) as tap:
        network(torch.rand(5, 3))
        assert hooks(network) == 0
        assert tap.features == {}


def test_finds_a_module_registered_under_two_names():
    network = Tiny()
    network.alias = network.body
    with FeatureTap(network, ['alias']) as tap:
        network(torch.rand(5, 3))
        assert list(tap.features) == ['alias']


def test_wrong_name_lists_close_matches_and_hooks_nothing():
    network = Tiny()
    with pytest.raises(KeyError, match=r"Tiny has no module 'bodi\.0'.*'body\.0'"):
        FeatureTap(network, ['head', 'bodi.0'])
    assert hooks(network) == 0
    with pytest.raises(KeyError, match='none'):
        FeatureTap(network, ['qqqqqqqqqqqq'])


def test_tuples_are_refused():
    network = nn.Sequential(Pair())
    with (
        pytest.raises(TypeError, match=r"'0' \(Pair\) returned a tuple"),
        FeatureTap(network, ['0']),
    ):
        network(torch.rand(1))
    assert hooks(network) == 0
