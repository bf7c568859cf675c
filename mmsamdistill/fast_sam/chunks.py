"""How much to compute at once, so that intermediate results stay in the cache of the device."""

from __future__ import annotations

import torch

# On a CPU a piece that fits the last-level cache is read back for nothing; a GPU wants large
# kernels, and its memory is the only limit.
_BYTES_AT_ONCE = {'cpu': 2**24, 'cuda': 2**30}


def chunk_length(bytes_per_item: int, device: torch.device | str) -> int:
    """Number of items to process together.

    Example:
        >>> chunk_length(2**22, 'cpu'), chunk_length(2**40, 'cpu')
        (4, 1)
    """
    budget = _BYTES_AT_ONCE.get(torch.device(device).type, _BYTES_AT_ONCE['cuda'])
    return max(1, budget // bytes_per_item)
