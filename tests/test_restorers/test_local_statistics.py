import copy

import numpy as np
import pytest
import torch
from torch import nn
from toy import NAFNET, plain_model

from mmsamdistill.deploy.export import build_model
from mmsamdistill.engine import LocalStatisticsHook
from mmsamdistill.restorers.local_statistics import (
    has_local_statistics,
    local_mean,
    use_global_statistics,
    use_local_statistics,
)

RESTORMER = {
    'type': 'Restormer',
    'dim': 8,
    'num_blocks': [1, 1, 1, 1],
    'num_refinement_blocks': 1,
    'heads': [1, 1, 1, 1],
}
GLOBAL = {
    'NAFNet': NAFNET['generator'],
    'Restormer': RESTORMER,
    'MPRNet': {
        'type': 'MPRNet',
        'mid_channels': 4,
        'unet_growth': 2,
        'full_growth': 2,
        'num_blocks': 1,
    },
    'HINet': {'type': 'HINet', 'mid_channels': 4, 'depth': 3},
}


def network(generator):
    from mmengine.config import Config

    torch.manual_seed(0)
    net = build_model(Config({'model': plain_model(generator)})).generator.eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.requires_grad_(False)


def slow_mean(x, height, width):
    """Window by window, the nearest whole one at the borders."""
    result = np.empty_like(x)
    height, width = min(height, x.shape[-2]), min(width, x.shape[-1])
    for row in range(x.shape[-2]):
        for column in range(x.shape[-1]):
            top = np.clip(row - (height - 1) // 2, 0, x.shape[-2] - height)
            left = np.clip(column - (width - 1) // 2, 0, x.shape[-1] - width)
            piece = x[..., top : top + height, left : left + width]
            result[..., row, column] = piece.mean((-2, -1))
    return result


@pytest.mark.parametrize('window', [(1, 1), (3, 4), (4, 3), (9, 2), (50, 50)])
def test_local_mean_is_that_of_a_slow_loop(window):
    x = torch.rand(2, 3, 9, 11)
    assert np.allclose(local_mean(x, window), slow_mean(x.numpy(), *window), atol=1e-6)


def test_instance_norm_over_windows_is_that_of_a_slow_loop():
    norm = nn.InstanceNorm2d(2, affine=True)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    net = nn.Sequential(nn.Conv2d(3, 2, 1), norm).requires_grad_(False)
    image = torch.rand(1, 3, 66, 70)
    use_local_statistics(net, 64)
    x = net[0](image).double().numpy()
    mean = slow_mean(x, 64, 64)
    variance = slow_mean(x**2, 64, 64) - mean**2
    wanted = (x - mean) / np.sqrt(variance + norm.eps)
    wanted = wanted * norm.weight.view(-1, 1, 1).numpy() + norm.bias.view(-1, 1, 1).numpy()
    assert np.allclose(net(image), wanted, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', GLOBAL)
def test_conversion_changes_large_images_alone_and_can_be_undone(name):
    net = network(GLOBAL[name])
    names = list(net.state_dict())
    small, large = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 96, 136)
    before = net(small), net(large)
    assert not has_local_statistics(net)
    assert use_local_statistics(net, 64) > 0
    assert has_local_statistics(net)
    assert list(net.state_dict()) == names
    assert torch.equal(net(small), before[0])
    local = net(large)
    assert (local - before[1]).abs().max() > 1e-4
    # A copy works with its own weights.
    other = copy.deepcopy(net)
    for parameter in other.parameters():
        parameter.zero_()
    assert torch.equal(net(large), local)
    use_global_statistics(net)
    assert torch.equal(net(large), before[1])
    assert not has_local_statistics(net)


def test_nafnet_is_mmagics_local_twin():
    local = {**NAFNET['generator'], 'type': 'NAFNetLocal', 'train_size': (1, 3, 128, 128)}
    theirs, ours = network(local), network(NAFNET['generator'])
    ours.load_state_dict(theirs.state_dict())
    use_local_statistics(ours, 192)
    image = torch.rand(1, 3, 208, 240)
    assert torch.allclose(ours(image), theirs(image), atol=1e-5)
    assert has_local_statistics(theirs)


def test_attention_of_one_window_is_the_layers_own():
    net = network(RESTORMER)
    use_local_statistics(net, 64)
    layer = net.encoder_level1[0].attn
    x = torch.rand(1, 8, 64, 100)
    layer.local_window = (64, 99)  # two windows: without the last column, without the first
    # No pixel sees its neighbours, so that a piece by itself has the features of the whole.
    centre = torch.zeros_like(layer.qkv_dwconv.weight)
    centre[..., 1, 1] = layer.qkv_dwconv.weight[..., 1, 1]
    layer.qkv_dwconv.weight.data = centre
    first, last = (type(layer).forward(layer, each) for each in (x[..., :99], x[..., 1:]))
    assert torch.allclose(layer(x)[..., 0], first[..., 0], atol=1e-6)
    assert torch.allclose(layer(x)[..., 99], last[..., 98], atol=1e-6)
    between = (first[..., 1:] + last[..., :98]) / 2
    assert torch.allclose(layer(x)[..., 1:99], between, atol=1e-6)


def test_window_must_be_on_the_grid_and_something_to_convert():
    net = network({'type': 'ToyNet'})
    with pytest.raises(ValueError, match='ToyNet has no global pooling'):
        use_local_statistics(net, 64)
    with pytest.raises(ValueError, match='window=100'):
        use_local_statistics(net, 100)


def test_hook_converts_while_testing_and_shows_it():
    from types import SimpleNamespace

    from mmengine.config import Config

    model = build_model(Config({'model': NAFNET})).eval()
    logger = SimpleNamespace(info=lambda text: None)
    runner, hook = SimpleNamespace(model=model, logger=logger), LocalStatisticsHook(window=64)
    hook.before_test(runner)
    assert has_local_statistics(model.generator)
    metrics = {'GoPro/PSNR': 30.0, 'HIDE/PSNR': 29.0}
    hook.after_test_epoch(runner, metrics)
    assert metrics['GoPro/local_window'] == metrics['HIDE/local_window'] == 64
    hook.after_test(runner)
    assert not has_local_statistics(model.generator)
    runner.model = build_model(Config({'model': plain_model()}))
    with pytest.raises(ValueError, match='no global'):
        hook.before_test(runner)
