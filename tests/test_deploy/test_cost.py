import time

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from torch import nn
from toy import NAFNET, cascade_model, plain_model

from mmsamdistill.deploy.cost import (
    count_flops,
    count_parameters,
    peak_memory,
    time_in_turns,
    time_side_by_side,
)
from mmsamdistill.deploy.cost_by_part import flops_by_part, training_step
from mmsamdistill.deploy.export import build_model


def test_parameters_are_counted_once_and_by_training():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, shared, nn.Linear(4, 1))
    assert count_parameters(model) == 20 + 5
    shared.bias.requires_grad_(False)
    assert count_parameters(model, trainable=True) == 16 + 5


def test_flops_by_hand_and_for_channels():
    model = nn.Conv2d(1, 2, 3, padding=1).train()
    assert count_flops(model, (5, 7), channels=1) == 5 * 7 * 2 * 9
    assert model.training


def test_flops_are_mmengines():
    model = build_model(Config({'model': NAFNET}))
    theirs = get_model_complexity_info(model, (3, 32, 48), show_table=False, show_arch=False)
    assert count_flops(model, (32, 48)) == theirs['flops']
    assert count_parameters(model) == theirs['params']


def test_the_cascade_predicts_at_the_plain_models_cost():
    plain = build_model(Config({'model': NAFNET}))
    cascade = build_model(Config({'model': cascade_model(NAFNET)}))
    assert count_flops(cascade, (32, 32)) == count_flops(plain, (32, 32))
    assert count_parameters(cascade) > 2 * count_parameters(plain)


@pytest.mark.parametrize('shape', [(0, 8), (8,), (8, 8, 8)])
def test_shape_is_height_and_width(shape):
    with pytest.raises(ValueError, match='height and width'):
        count_flops(nn.Conv2d(3, 3, 1), shape)


def test_times_are_medians_taken_in_turns():
    calls = []

    def slow():
        calls.append('slow')
        time.sleep(0.02)

    seconds = time_side_by_side([slow, lambda: calls.append('fast')], repeats=3, warmup=1)
    assert calls == ['slow', 'fast'] * 4
    assert seconds[0] >= 0.02
    assert seconds[1] < 0.01
    with pytest.raises(ValueError, match='repeats=0'):
        time_side_by_side([], repeats=0)


def test_memory_at_the_peak():
    def chain(count):
        x = torch.zeros(1000)
        for _ in range(count):
            x = x + 1  # the last one dies as soon as the next is there

    assert peak_memory(lambda: chain(0)) == 4000
    assert peak_memory(lambda: chain(1)) == 8000
    assert peak_memory(lambda: chain(5)) == 8000


def test_memory_of_views_and_of_what_was_there_before_is_free():
    x = torch.zeros(1000)
    assert peak_memory(lambda: x.view(10, 100).t()[2:].add_(1)) == 0


def test_training_needs_the_activations():
    layers = [layer for _ in range(6) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.Sigmoid())]
    network = nn.Sequential(*layers)
    image = torch.rand(1, 4, 32, 32)
    with torch.no_grad():
        inference = peak_memory(lambda: network(image))
    training = peak_memory(lambda: network(image).sum().backward())
    activation = 4 * 32 * 32 * 4
    assert inference == 2 * activation
    # The outputs of six sigmoids are kept.
    assert training >= 6 * activation


def test_another_clock_counts():
    ticks = iter(range(100))
    slow, fast = time_in_turns([lambda: next(ticks), int], 2, 1, clock=lambda: float(next(ticks)))
    assert (slow, fast) == ([2.0, 2.0], [1.0, 1.0])


def test_a_step_costs_what_its_gradients_need():
    model = build_model(Config({'model': plain_model({'type': 'ToyNet', 'channels': 5})}))
    step, _ = training_step(model, (16, 24), torch.device('cpu'), batch_size=2)
    counted = flops_by_part(model, step)
    # Forward, and backward for the weights; the image in front of the first one needs no gradient.
    first = last = 2 * 16 * 24 * 9 * 3 * 5
    assert counted['student'] == 2 * first + 3 * last
