"""How much of an image fits into memory at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmsamdistill.deploy.cost import peak_memory
from mmsamdistill.deploy.tiling import GRID

SMALLEST_TILE = 128
_PROBES = (64, 128)
# Kernels need workspace that the probe does not see, and allocators leave gaps.
_RESERVE = 3.0


def largest_tile(run: Callable[[int], Any], device: torch.device, free: int | None = None) -> int:
    """Find the side of the largest square window that fits into the free memory.

    Args:
        run: Restores one square image of the given side; measured at two small sides.
        device: Where it computes.
        free: Bytes to fit into; None: what is free now.

    Returns:
        A multiple of 16, at least :data:`SMALLEST_TILE`.
    """
    small, large = (peak_memory(partial(run, side), device) for side in _PROBES)
    per_pixel = max(1.0, (large - small) / (_PROBES[1] ** 2 - _PROBES[0] ** 2))
    free = free_memory(device) if free is None else free
    side = int((free / _RESERVE / per_pixel) ** 0.5) // GRID * GRID
    return max(SMALLEST_TILE, side)


def free_memory(device: torch.device) -> int:
    """Bytes that can be asked for now."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    free = [4 << 30]  # where the system does not tell
    meminfo = Path('/proc/meminfo')
    if meminfo.is_file():
        lines = dict(line.split(':') for line in meminfo.read_text().splitlines())
        free = [int(lines['MemAvailable'].split()[0]) << 10]
    elif hasattr(os, 'sysconf') and 'SC_AVPHYS_PAGES' in os.sysconf_names:
        free = [os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')]
    # A container may have less than its machine.
    group = Path('/sys/fs/cgroup')
    try:
        limit, used = ((group / name).read_text() for name in ('memory.max', 'memory.current'))
        free.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass
    return max(0, min(free))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or the host."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or 'not enough memory' in text or 'out of memory' in text
    )
