"""Reading checkpoint files without executing what they contain: the one place that opens them.

MMEngine's checkpoints hold more than tensors: the exact types that they need are allowed here.
"""

import copy
import io
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# How the versions of torch word the refusal of a type; the group is its name.
REFUSED = re.compile(
    r'(?:GLOBAL |Unsupported class |unrecognized function |unsupported class |but got |'
    r'NEWOBJ for class |for callable )(?:<[\w-]+ )*[\'"]?([\w.]+)'
)
# Arrays and scalars of these kinds (bool, integers, floats) can be read, arrays of objects not.
DTYPE_CODES = '?bBhHiIlLqQefd'
STATISTICS = ('min', 'max', 'current', 'mean')
NUMPY_INTERNALS = ('numpy.core.multiarray', 'numpy._core.multiarray')  # NumPy 1 and 2


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
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(path))
    except Exception as error:
        raise CheckpointError(
            f'{path} is damaged or no safetensors file: {reason_of(error)}'
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
        out_of_memory = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
        if out_of_memory or 'deserialize object on' in str(error):
            raise  # the device's fault, not the file's
        size = stream.seek(0, os.SEEK_END)
        raise CheckpointError(
            f'{name} ({size} bytes) is truncated, damaged or no checkpoint: {reason_of(error)}'
        ) from error


def reason_of(error: Exception) -> str:
    """First line of an error, unless it advises what must not be done."""
    text = str(error).strip()
    if 'weights_only' in text:
        return 'it cannot be unpickled safely'
    return text.splitlines()[0] if text else type(error).__name__


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
            f'{path} is no checkpoint: it holds {type(content).__name__}, not a dict of weights'
        )
    return dict(content)


def _reconstruct(subtype: type, shape: tuple[int, ...], kind: bytes) -> np.ndarray:
    """Start an array as NumPy's unpickling does, of no type but ``numpy.ndarray``."""
    if subtype is not np.ndarray:
        raise TypeError(f'refused to rebuild an array of type {subtype}')
    return np.ndarray.__new__(np.ndarray, shape, kind)  # type: ignore[call-overload]


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    """Make a NumPy scalar of a plain number type from its bytes."""
    if dtype.char not in DTYPE_CODES:
        raise TypeError(f'refused to rebuild a scalar of type {dtype}')
    return np.frombuffer(content, dtype)[0]


def _statistic(owner: type, name: str) -> Callable:
    """Look up one of HistoryBuffer's four own statistics; MMEngine pickles them by ``getattr``."""
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise TypeError(f'refused to look up {name!r} of {owner}')
    return getattr(owner, name)


def _encode(text: str, encoding: str) -> bytes:
    """Turn the text that stands for bytes in a pickle of protocol 2 back into them."""
    if encoding != 'latin1':
        raise TypeError(f'refused to encode text as {encoding!r}')
    return text.encode(encoding)


def _named(function: Callable, module: str, name: str) -> Callable:
    # torch identifies an allowed global by the module and name it says it has.
    twin: Any = type(function)(function.__code__, function.__globals__, name)  # type: ignore[misc]
    twin.__module__, twin.__qualname__ = module, name
    return twin


def allowed_types() -> list[Any]:
    """List what may be rebuilt from a checkpoint written by MMEngine."""
    # Under either version of NumPy, by functions of ours that rebuild plain numbers only.
    rebuilders = [
        _named(function, module, name)
        for module in NUMPY_INTERNALS
        for name, function in (('_reconstruct', _reconstruct), ('scalar', _scalar))
    ]
    rebuilders.append(_named(_encode, '_codecs', 'encode'))  # torch 2.4 lacks it
    # Not the builtin, which would open a way around the list.
    rebuilders.append(_named(_statistic, 'builtins', 'getattr'))
    dtypes = {type(np.dtype(code)) for code in DTYPE_CODES}
    return [HistoryBuffer, np.ndarray, np.dtype, *sorted(dtypes, key=str), *rebuilders]


def allow_mmengine_types() -> None:
    """Allow :class:`HistoryBuffer` and plain NumPy numbers in ``torch.load(weights_only=True)``."""
    # MMEngine (to 0.10.7) keeps the log's history in every checkpoint, which torch's safe reading
    # refuses, so that no checkpoint could be resumed.
    if hasattr(torch.serialization, 'add_safe_globals'):
        torch.serialization.add_safe_globals(allowed_types())
    else:
        # Before torch 2.4, objects can be rebuilt by a call only; see write_history_as_lists.
        from torch._weights_only_unpickler import _get_allowed_globals

        name = f'{HistoryBuffer.__module__}.{HistoryBuffer.__qualname__}'
        _get_allowed_globals()[name] = HistoryBuffer  # the cached dictionary itself


def _history_as_lists(buffer: HistoryBuffer) -> tuple[Any, ...]:
    log, count = buffer.data
    return type(buffer), (log.tolist(), count.tolist(), buffer.max_length)


def _set_history_state(buffer: HistoryBuffer, state: dict[str, Any]) -> None:
    kept = ('max_length', '_log_history', '_count_history')
    buffer._set_default_statistics()
    buffer.__dict__.update({key: state[key] for key in kept})


def write_history_as_lists() -> None:
    """Have ``HistoryBuffer`` pickled as a call of its constructor with lists of numbers."""
    # Pickled as objects holding NumPy arrays (MMEngine to 0.10.7), histories cannot be read safely
    # by torch 2.1 to 2.3, and name NumPy's internals, which differ between NumPy 1 and 2.
    HistoryBuffer.__reduce__ = _history_as_lists
    HistoryBuffer.__setstate__ = _set_history_state


def plain_numbers(value: Any) -> Any:
    """Turn NumPy scalars anywhere in dicts, lists and tuples into Python numbers."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        items = {key: plain_numbers(item) for key, item in value.items()}
        if all(items[key] is value[key] for key in items):
            return value
        changed = copy.copy(value)
        changed.update(items)
        return changed
    if type(value) in (list, tuple):
        parts = [plain_numbers(item) for item in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return type(value)(parts)
    return value
