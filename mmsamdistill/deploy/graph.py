"""The deployed network as a TorchScript graph, which runs without Python's classes."""

from __future__ import annotations

import copy
import io
import warnings

import torch
from torch import Tensor, nn

_TRACED = (1, 3, 64, 64)
_TRIED = ((1, 3, 64, 64), (2, 3, 80, 48), (1, 3, 61, 67), (1, 3, 72, 95))


class PlainLayerNorm2d(nn.Module):
    r"""NAFNet's normalisation over channels, without its hand-written gradient.

    .. math:: y = w \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + b

    MMagic computes it in a ``torch.autograd.Function``, which no graph can hold; the operations
    here are the same in the same order, so the results are equal to the last bit.

    Args:
        weight: (C,) scale.
        bias: (C,) offset.
        eps: Added to the variance.

    Shape:
        - x, returns: (N, C, H, W)

    Example:
        >>> norm = PlainLayerNorm2d(torch.ones(2), torch.zeros(2), 0.0)
        >>> norm(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).flatten().tolist()
        [-1.0, 1.0]
    """

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the channels."""
        centred = x - x.mean(1, keepdim=True)
        variance = centred.pow(2).mean(1, keepdim=True)
        normalised = centred / (variance + self.eps).sqrt()
        return self.weight.view(1, -1, 1, 1) * normalised + self.bias.view(1, -1, 1, 1)


def torchscript_bytes(network: nn.Module) -> bytes:
    """Trace a network into a file's content.

    The graph maps (N, 3, H, W) to the same, in the normalised range of the config's
    ``data_preprocessor``. It is tried on images of several sizes before it is returned.

    Args:
        network: The restorer's network (its ``generator``).

    Returns:
        What ``torch.jit.load`` reads.

    Raises:
        ValueError: If the graph gives other results than the network for some size, which happens
            to networks that decide by the image's size (Restormer).

    Source: ours.
    """
    network = copy.deepcopy(network).eval()
    graph_ready = _without_autograd_functions(copy.deepcopy(network))
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing is deprecated for code that torch.export can read, and warns of size arithmetic,
        # which the trial below settles.
        warnings.simplefilter('ignore')
        traced = torch.jit.trace(graph_ready, torch.rand(_TRACED), check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
        buffer.seek(0)
        loaded = torch.jit.load(buffer)
        for size in _TRIED:
            image = torch.rand(size)
            if not _agree(loaded, network, image):
                raise ValueError(
                    f"{type(network).__name__} cannot be exported as torchscript: the graph's "
                    f'result for an image of {size[2]} x {size[3]} pixels differs from the '
                    "network's; use format 'mmagic' or 'safetensors'"
                )
    return buffer.getvalue()


def _agree(graph: nn.Module, network: nn.Module, image: Tensor) -> bool:
    try:
        ours = graph(image)
    except RuntimeError:  # a size that the graph has fixed does not fit
        return False
    wanted = network(image)
    return ours.shape == wanted.shape and torch.allclose(ours, wanted, atol=1e-5)


def _without_autograd_functions(network: nn.Module) -> nn.Module:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            # By name, since importing MMagic's class would import all that lies beside it.
            if type(child).__module__.startswith('mmagic.') and type(child).__name__ == (
                'LayerNorm2d'
            ):
                plain = PlainLayerNorm2d(child.weight.data, child.bias.data, child.eps)
                setattr(parent, name, plain)
    return network
