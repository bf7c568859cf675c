"""Statistics of a neighbourhood instead of the whole image, at test time and without retraining."""

from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Every stride of the restorers in use divides it.
_PROBE = 64
_FORWARD = 'forward'

Form = Callable[[Any, Tensor], Tensor]


def use_local_statistics(network: nn.Module, window: int, channels: int = 3) -> int:
    """Let a network pool, normalise and attend over windows instead of whole images.

    A network with global pooling is trained on patches and tested on images several times as
    large, whose statistics it has never seen. Test-time local conversion (Chu et al., ECCV 2022)
    gives every pixel the statistics of a window about as large as a training patch: global average
    pooling, instance normalisation and Restormer's attention over channels work locally then.
    Weights, their names and their number stay; an image that fits into the window gives the same
    result as before, bit for bit.

    The window's side is a multiple of 64 pixels; published is 1.5 times that of training patches.
    Returned is how many layers work locally now.
    """
    if window < _PROBE or window % _PROBE:
        raise ValueError(f'window={window} must be a positive multiple of {_PROBE} pixels')
    use_global_statistics(network)
    sizes = _feature_sizes(network, channels)
    if not sizes:
        raise ValueError(
            f'{type(network).__name__} has no global pooling or normalisation to convert to local '
            'statistics: do without LocalStatisticsHook and --local'
        )
    for layer, (height, width) in sizes.items():
        scale = window // _PROBE
        layer.local_window = (height * scale, width * scale)
        setattr(layer, _FORWARD, partial(_local_form(layer), layer))
    return len(sizes)


def use_global_statistics(network: nn.Module) -> None:
    """Undo :func:`use_local_statistics`."""
    for layer in network.modules():
        if hasattr(layer, 'local_window'):
            delattr(layer, _FORWARD)  # the class's own is there again
            del layer.local_window


def has_local_statistics(network: nn.Module) -> bool:
    """Tell whether some layer works on windows, by conversion or by construction (``Local``)."""
    return any(
        hasattr(layer, 'local_window') or type(layer).__name__ == 'NAFAvgPool2d'
        for layer in network.modules()
    )


def local_mean(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Mean over the window around each pixel; at the borders over the nearest whole window.

    >>> local_mean(torch.tensor([[[[1.0, 3.0, 5.0, 7.0]]]]), (1, 2)).flatten().tolist()
    [2.0, 4.0, 6.0, 6.0]
    """
    # Sums over thousands of pixels need more digits than their differences show.
    exact = x.double() if x.device.type != 'mps' else x.float()
    for dim, side in ((-2, window[0]), (-1, window[1])):
        exact = _running_mean(exact, side, dim)
    return exact.to(x.dtype)


def _running_mean(x: Tensor, side: int, dim: int) -> Tensor:
    # Counting FLOPs traces, where sizes are tensors.
    length = int(x.shape[dim]) if torch.jit.is_tracing() else x.shape[dim]
    side = torch.sym_min(side, length)
    front = (0, 0, 1, 0) if dim == -2 else (1, 0)
    # Differences of running sums: the cost does not depend on the window.
    sums = F.pad(x.cumsum(dim), front)
    valid = length - side + 1
    means = (sums.narrow(dim, side, valid) - sums.narrow(dim, 0, valid)) / side
    before, after = (side - 1) // 2, side // 2
    return F.pad(means, (0, 0, before, after) if dim == -2 else (before, after, 0, 0), 'replicate')


def _local(form: Form) -> Form:
    """The layer's own form where the whole image is one window, this one where it is not."""

    @wraps(form)
    def forward(layer: Any, x: Tensor) -> Tensor:
        # A graph, which has no size yet, always takes windows.
        height, width = layer.local_window
        if not _is_exporting() and x.shape[-2] <= height and x.shape[-1] <= width:
            return type(layer).forward(layer, x)
        return form(layer, x)

    return forward


def _is_exporting() -> bool:
    # Since torch 2.7; what is older writes no graph of open sizes.
    return getattr(torch.compiler, 'is_exporting', lambda: False)()


@_local
def _pool(layer: nn.Module, x: Tensor) -> Tensor:
    return local_mean(x, layer.local_window)


@_local
def _normalise(layer: nn.InstanceNorm2d, x: Tensor) -> Tensor:
    # What nn.InstanceNorm2d computes, with moments of the window instead of the image.
    mean = local_mean(x, layer.local_window)
    variance = (local_mean(x.square(), layer.local_window) - mean.square()).clamp(min=0)
    normed = (x - mean) / (variance + layer.eps).sqrt()
    if not layer.affine:
        return normed
    return normed * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)


@_local
def _attend(layer: nn.Module, x: Tensor) -> Tensor:
    """Restormer's attention inside each of several overlapping windows, averaged where they do."""
    if _is_exporting():
        raise ValueError(
            'attention over windows has no graph of variable size: export with global statistics'
        )
    # 1. Queries, keys and values of the whole image, whose convolutions are local anyway.
    height, width = x.shape[-2:]
    qkv = layer.qkv_dwconv(layer.qkv(x))
    total, count = torch.zeros_like(x), x.new_zeros(height, width)
    # 2. Attention in each window.
    for top, bottom in _cover(height, layer.local_window[0]):
        for left, right in _cover(width, layer.local_window[1]):
            piece = qkv[..., top:bottom, left:right]
            total[..., top:bottom, left:right] += _channel_attention(layer, piece)
            count[top:bottom, left:right] += 1
    return layer.project_out(total / count)


def _channel_attention(layer: nn.Module, qkv: Tensor) -> Tensor:
    batch, channels, height, width = qkv.shape
    heads = qkv.reshape(batch, 3, layer.num_heads, channels // 3 // layer.num_heads, -1)
    query, key, value = heads.unbind(1)
    scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)
    mixed = (scores * layer.temperature).softmax(dim=-1) @ value
    return mixed.reshape(batch, -1, height, width)


def _cover(length: int, side: int) -> Iterator[tuple[int, int]]:
    """Cover an axis by the fewest windows, spaced as the published code spaces them."""
    length = int(length)
    side = min(side, length)
    # The fewest that cover it; the last one ends where the axis does.
    count = -(-length // side)
    step = -(-(length - side) // max(count - 1, 1))
    for index in range(count):
        start = min(index * step, length - side)
        yield start, start + side


def _local_form(layer: nn.Module) -> Form | None:
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
        return _pool
    if isinstance(layer, nn.InstanceNorm2d) and not layer.track_running_stats:
        return _normalise
    # By what it holds, since importing MMagic's class would import all that lies beside it.
    if all(hasattr(layer, name) for name in ('qkv_dwconv', 'temperature', 'project_out')):
        return _attend
    return None


def _feature_sizes(network: nn.Module, channels: int) -> dict[nn.Module, tuple[int, int]]:
    """Size of what each global layer sees of an image of the probe's size."""
    sizes: dict[nn.Module, tuple[int, int]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[layer] = tuple(inputs[0].shape[-2:])

    # One pass of a probe shows how far each layer lies below the resolution of the image.
    hooks = [
        layer.register_forward_pre_hook(note) for layer in network.modules() if _local_form(layer)
    ]
    training, parameter = network.training, next(network.parameters())
    try:
        with torch.no_grad():
            network.eval()(parameter.new_zeros(1, channels, _PROBE, _PROBE))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return sizes
