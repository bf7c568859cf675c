import copy
import math

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


class ByUnfold(nn.Module):
    """A layer by its published definition: each pixel's window is written out."""

    def __init__(self, layer, window):
        super().__init__()
        self.layer, self.window = layer, window

    def mean(self, x):
        height, width = map(min, self.window, x.shape[-2:])
        means = x.unfold(2, height, 1).unfold(3, width, 1).mean((-2, -1))
        around = ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2)
        return nn.functional.pad(means, around, 'replicate')

    def forward(self, x):
        layer = self.layer
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return self.mean(x)
        if isinstance(layer, nn.InstanceNorm2d):
            mean, square = self.mean(x.double()), self.mean(x.double() ** 2)
            normed = ((x - mean) / (square - mean**2 + layer.eps).sqrt()).float()
            return normed * layer.weight[:, None, None] + layer.bias[:, None, None]
        features, count = layer.qkv_dwconv(layer.qkv(x)), torch.zeros_like(x)
        total = torch.zeros_like(x)
        for rows in starts(x.shape[-2], self.window[0]):
            for columns in starts(x.shape[-1], self.window[1]):
                query, key, value = features[..., rows, columns].chunk(3, 1)
                for head in range(layer.num_heads):
                    part = head_of(layer, x, head)
                    q, k, v = (each[:, part].flatten(2) for each in (query, key, value))
                    q, k = (each / each.norm(dim=-1, keepdim=True) for each in (q, k))
                    mixed = ((q @ k.mT) * layer.temperature[head]).softmax(-1) @ v
                    total[:, part, rows, columns] += mixed.unflatten(
                        2, total[:, part, rows, columns].shape[2:]
                    )
                count[..., rows, columns] += 1
        return layer.project_out(total / count)


def starts(length, side):
    """The published windows of Restormer's attention along an axis."""
    side, number = min(side, length), math.ceil(length / side)
    step = side if number == 1 else math.ceil((length - side) / (number - 1) - 1e-8)
    return [
        slice(begin, begin + side)
        for begin in (min(i * step, length - side) for i in range(number))
    ]


def head_of(layer, x, head):
    size = x.shape[1] // layer.num_heads
    return slice(head * size, (head + 1) * size)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['MPRNet', 'HINet', 'Restormer'])
def test_whole_networks_are_those_of_the_definition(name):
    heads = {'heads': [2, 2, 2, 2]} if name == 'Restormer' else {}
    net = network({**GLOBAL[name], **heads})
    image, sizes = torch.rand(1, 3, 72, 216), {}
    count = use_local_statistics(net, 64)
    local = net(image)
    use_global_statistics(net)
    # The window of a layer is the size that an image of the window has there.
    kinds = (nn.AdaptiveAvgPool2d, nn.InstanceNorm2d)
    parents = {
        child: (parent, key)
        for parent in net.modules()
        for key, child in parent.named_children()
        if isinstance(child, kinds) or hasattr(child, 'temperature')
    }
    for layer in parents:
        layer.register_forward_pre_hook(lambda m, i: sizes.update({m: i[0].shape[-2:]}))
    net(torch.zeros(1, 3, 64, 64))
    assert count == len(sizes) > 3
    for layer, (parent, key) in parents.items():
        setattr(parent, key, ByUnfold(layer, sizes[layer]))
    assert torch.allclose(net(image), local, atol=1e-4 * float(local.abs().max()))


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
