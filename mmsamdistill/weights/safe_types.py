"""Exact types that MMEngine's checkpoints hold besides tensors, allowed for safe unpickling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# Arrays and scalars of these kinds (bool, integers, floats) can be read, arrays of objects not.
DTYPE_CODES = '?bBhHiIlLqQefd'
STATISTICS = ('min', 'max', 'current', 'mean')
NUMPY_INTERNALS = ('numpy.core.multiarray', 'numpy._core.multiarray')  # NumPy 1 and 2


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
    """List what may be rebuilt from a checkpoint written by MMEngine.

    NumPy's internal functions moved from ``numpy.core`` to ``numpy._core`` in NumPy 2; both names
    are understood under either version, by functions of ours that rebuild plain numbers only.
    """
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
    """Allow :class:`HistoryBuffer` and plain NumPy numbers in ``torch.load(weights_only=True)``.

    Reason: MMEngine keeps the log's history in every checkpoint, as ``HistoryBuffer`` objects
    holding NumPy arrays; torch's safe unpickling refuses both, so no checkpoint can be resumed.
    torch 2.4 and later take further exact types through ``add_safe_globals``. Before that there is
    no such list and objects can be rebuilt by a call only, which is how ``HistoryBuffer`` is
    written by :func:`write_history_as_lists`; its constructor is then the one addition.

    Affected: torch 2.6 and later by default, all versions with ``weights_only=True``. Unnecessary
    once MMEngine allows its own types.
    """
    if hasattr(torch.serialization, 'add_safe_globals'):
        torch.serialization.add_safe_globals(allowed_types())
    else:
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
    """Have ``HistoryBuffer`` pickled as a call of its constructor with lists of numbers.

    Reason: pickled as objects holding NumPy arrays, histories cannot be read safely by torch 2.1
    to 2.3, and name NumPy's internals, which differ between NumPy 1 and 2. A call with lists is
    read by every torch and NumPy, and by MMEngine without this package. Values stay exact. Reading
    a history no longer replaces the statistics of the whole class by what the file says.

    Affected: MMEngine up to 0.10.7. Unnecessary once its checkpoints hold plain data.
    """
    HistoryBuffer.__reduce__ = _history_as_lists
    HistoryBuffer.__setstate__ = _set_history_state


def plain_numbers(value: Any) -> Any:
    """Turn NumPy scalars anywhere in dicts, lists and tuples into Python numbers.

    Example:
        >>> plain_numbers({'best': np.float64(2.5), 'steps': [1, 2]})
        {'best': 2.5, 'steps': [1, 2]}
    """
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
