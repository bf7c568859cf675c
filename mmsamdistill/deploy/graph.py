"""The deployed network as an ONNX graph, which runs without Python's classes."""

import contextlib
import copy
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsamdistill.restorers.local_statistics import local_mean
from mmsamdistill.version import needs
from mmsamdistill.weights.reading import reason_of

# Of no restorer's grid, so that no size is taken for a constant.
_TRACED = (72, 88)
_OPSET = 18
# These pad to their grid by reflection, after decisions that a graph would keep.
_PADDED_BEFORE = {'Restormer': 8, 'SwinIRNet': None}


class _PlainLayerNorm2d(nn.Module):
    """NAFNet's normalisation without its ``autograd.Function``, equal to the last bit."""

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


class _PaddedBefore(nn.Module):
    """Pads to the network's grid by arithmetic, so that the network's own decisions are settled."""

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple

    def forward(self, x: Tensor) -> Tensor:
        """Restore (N, C, H, W)."""
        height, width = x.shape[-2:]
        below, right = (
            self.multiple * ((side + self.multiple - 1) // self.multiple) - side
            for side in (height, width)
        )
        padded = F.pad(x, (0, right, 0, below), 'reflect')
        return self.network(padded)[..., :height, :width]


def onnx_bytes(network: nn.Module, channels: int, meta: Mapping[str, str]) -> bytes:
    """Write a network as an ONNX file's content, its batch, height and width left open.

    The graph maps ``image`` to ``restored``, (N, C, H, W) in the network's normalised range; sides
    of less than 16 pixels are not promised.
    """
    if not hasattr(torch.compiler, 'is_exporting'):
        raise ImportError(
            f'a graph of open sizes needs torch 2.7 or later, this is {torch.__version__}'
        )
    require('onnx', 'onnx')
    require('onnxscript', 'onnx')
    ready = _graph_ready(copy.deepcopy(network).eval())
    try:
        model = _traced(ready, channels).model_proto
    except Exception as error:
        raise ValueError(
            f'{type(network).__name__} cannot be exported as onnx: {reason_of(error)}; use the '
            "format 'mmagic' or 'safetensors'"
        ) from error
    # The open sizes get names that say what they are.
    for value in (*model.graph.input, *model.graph.output):
        batch, _, height, width = value.type.tensor_type.shape.dim
        batch.dim_param, height.dim_param, width.dim_param = 'batch', 'height', 'width'
    for key, value in meta.items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString()


def _traced(network: nn.Module, channels: int) -> Any:
    # A batch of two: a size of one would be taken for a constant.
    image, free = torch.rand(2, channels, *_TRACED), torch.export.Dim.DYNAMIC
    with torch.no_grad(), warnings.catch_warnings(), _quiet(), _open_batch():
        warnings.simplefilter('ignore')
        # Decisions by size that hold for every size which matters are asserted, not fixed.
        program = torch.export.export(
            network,
            (image,),
            dynamic_shapes=({0: free, 2: free, 3: free},),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        return torch.onnx.export(
            program,
            dynamo=True,
            input_names=['image'],
            output_names=['restored'],
            opset_version=_OPSET,
            verbose=False,
        )


def onnx_reader(path: str) -> Callable[[Tensor], Tensor]:
    """Open a graph in onnxruntime, on the CPU."""
    runtime = require('onnxruntime', 'onnx')
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])

    def restore(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(['restored'], {'image': image.numpy()})[0])

    return restore


def require(package: str, extra: str) -> Any:
    """Import an optional package, or say by which extra it comes."""
    with needs(f"{package} is needed here: pip install 'mmsamdistill[{extra}]'"):
        return importlib.import_module(package)


def _graph_ready(network: nn.Module) -> nn.Module:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            # By name, since importing MMagic's classes would import all that lies beside them.
            if not type(child).__module__.startswith('mmagic.'):
                continue
            if type(child).__name__ == 'LayerNorm2d':
                plain = _PlainLayerNorm2d(child.weight.data, child.bias.data, child.eps)
                setattr(parent, name, plain)
            elif type(child).__name__ == 'NAFAvgPool2d' and not child.fast_imp:
                # The same means, without asking whether the image fits into the window.
                child.forward = partial(local_mean, window=tuple(child.kernel_size))
    name = type(network).__name__
    if name not in _PADDED_BEFORE:
        return network
    if name == 'SwinIRNet' and not network.upsampler:
        network.forward = partial(_restore_by_swinir, network)
    return _PaddedBefore(network, _PADDED_BEFORE[name] or network.window_size).eval()


def _restore_by_swinir(network: nn.Module, x: Tensor) -> Tensor:
    """Its own forward for images of the same size, which replaces its ``mean`` as it runs."""
    x = (x - network.mean) * network.img_range
    first = network.conv_first(x)
    deep = network.conv_after_body(network.forward_features(first)) + first
    return (x + network.conv_last(deep)) / network.img_range + network.mean


@contextlib.contextmanager
def _open_batch() -> Iterator[None]:
    """Let SwinIR put its windows together without computing the batch's size as a number."""
    blocks: Any = importlib.import_module('mmagic.models.editors.swinir.swinir_rstb')
    theirs = blocks.window_reverse

    def window_reverse(windows: Tensor, side: int, height: int, width: int) -> Tensor:
        rows, columns = height // side, width // side
        x = windows.view(-1, rows, columns, side, side, windows.shape[-1])
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])

    blocks.window_reverse = window_reverse
    try:
        yield
    finally:
        blocks.window_reverse = theirs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own progress out of the user's log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
