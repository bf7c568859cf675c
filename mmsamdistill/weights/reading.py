"""Reading checkpoint files without executing what they contain: the one place that opens them."""

from __future__ import annotations

import io
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmsamdistill.weights.safe_types import allow_mmengine_types

# How the versions of torch word the refusal of a type; the group is its name.
REFUSED = re.compile(
    r'(?:GLOBAL |Unsupported class |unrecognized function |unsupported class |but got |'
    r'NEWOBJ for class |for callable )(?:<[\w-]+ )*[\'"]?([\w.]+)'
)


class CheckpointError(ValueError):
    """A checkpoint file that is damaged, or holds what must not be unpickled."""


def load_checkpoint_file(filename: str | os.PathLike, map_location: Any = None) -> Any:
    """Read a checkpoint from a local file without running code from it.

    Args:
        filename: Path of a ``torch.save`` file, or of a ``.safetensors`` file.
        map_location: As in :func:`torch.load`.

    Returns:
        The content; of a safetensors file the flat dict of tensors.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is empty, truncated or no checkpoint, or it holds a type that is
            not allowed; the message names the file and the type.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), 'a.pth')
        >>> torch.save({'weight': torch.ones(1)}, path)
        >>> load_checkpoint_file(path)
        {'weight': tensor([1.])}
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        kind = 'a folder, not a file' if path.is_dir() else 'not found'
        raise FileNotFoundError(f'checkpoint {path}: {kind}')
    if path.suffix == '.safetensors':
        return _load_safetensors(path, map_location)
    with path.open('rb') as stream:
        return load_stream(stream, str(path), map_location)


def _load_safetensors(path: Path, map_location: Any) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f'reading {path} needs `pip install safetensors`') from error
    try:
        tensors = load_file(str(path))
    except Exception as error:
        raise CheckpointError(
            f'{path} is damaged or no safetensors file: {_reason(error)}'
        ) from error
    if isinstance(map_location, (str, torch.device)):
        return {name: tensor.to(map_location) for name, tensor in tensors.items()}
    return tensors


def load_stream(stream: io.BufferedIOBase, name: str, map_location: Any) -> Any:
    """Unpickle allowed types alone from an open file; ``name`` is for messages."""
    allow_mmengine_types()  # again, in case someone cleared the list
    try:
        return torch.load(stream, map_location=map_location, weights_only=True)
    except Exception as error:
        refused = REFUSED.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if refused:
            raise CheckpointError(
                f'{name} holds a {refused.group(1)}, which is not among the types that may be '
                'unpickled, so it was not read. If it is your own and harmless, load it in a '
                'trusted environment and save tensors, numbers, strings, lists and dicts only. '
                f'{_hint_for_old_torch()}'.rstrip()
            ) from error
        if isinstance(error, TypeError) and str(error).startswith('refused'):
            raise CheckpointError(f'{name} was not read: {error}') from error
        if _out_of_memory(error) or 'deserialize object on' in str(error):
            raise  # the device's fault, not the file's
        size = stream.seek(0, os.SEEK_END)
        raise CheckpointError(
            f'{name} ({size} bytes) is truncated, damaged or no checkpoint: {_reason(error)}'
        ) from error


def _reason(error: Exception) -> str:
    """First line of an error, unless it advises what must not be done."""
    text = str(error).strip()
    if 'weights_only' in text:
        return 'it cannot be unpickled safely'
    return text.splitlines()[0] if text else type(error).__name__


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))


def _hint_for_old_torch() -> str:
    if hasattr(torch.serialization, 'add_safe_globals'):
        return ''
    return (
        f'torch {torch.__version__} cannot rebuild the objects in checkpoints that MMEngine wrote '
        'without mmsamdistill; torch 2.4 or later can.'
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint from disk onto the CPU.

    Files ending in ``.safetensors`` are read as such, everything else by ``torch.load`` with
    ``weights_only=True``: a checkpoint is data, and reading one must not run code. There is no
    fallback.

    Args:
        path: A ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file.

    Returns:
        The checkpoint as it was saved, in any dialect; see
        :func:`~mmsamdistill.weights.find_state_dict`.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged, is no checkpoint, or holds a type that is refused.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({'params': {'bias': torch.ones(2)}}, Path(folder, 'net.pth'))
        ...     read_checkpoint(Path(folder, 'net.pth'))
        {'params': {'bias': tensor([1., 1.])}}
    """
    content = load_checkpoint_file(path, map_location='cpu')
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f'{path} is no checkpoint: it holds {type(content).__name__} instead of a dict of '
            'weights'
        )
    return dict(content)
