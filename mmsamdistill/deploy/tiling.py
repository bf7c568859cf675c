"""Restoring an image that is too large for the memory, in overlapping windows."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmsamdistill.deploy.cost import peak_memory

# Networks with strides see a window as they see the whole image only if it starts on their grid;
# the restorers in use have strides or windows of 8 or 16 pixels.
GRID = 16
DEFAULT_OVERLAP = 64
SMALLEST_TILE = 128
# Sides of the squares by which the need of memory is measured.
_PROBES = (64, 128)
# Kernels need workspace that the probe does not see, and allocators leave gaps.
_RESERVE = 3.0
# Copies of an image on the host while it is restored in windows, and its file written; measured.
_HOST_BYTES = 20


def restore_tiled(
    restore: Callable[[Tensor], Tensor], image: Tensor, tile: int, overlap: int = DEFAULT_OVERLAP
) -> Tensor:
    """Restore (..., C, H, W) images window by window and blend the results, on the CPU.

    In the middle half of every overlap two windows are cross-faded; a window's outermost quarter
    of it is thrown away, since the network lacks context there. So the result equals that of the
    whole image if the network sees no farther than ``overlap / 4`` pixels, and has no visible
    seams if it sees farther. Networks that pool over the whole image give other results.
    """
    check_tile(tile, overlap)
    height, width = image.shape[-2:]
    total = weights = None
    for top, bottom in windows(height, tile, overlap):
        for left, right in windows(width, tile, overlap):
            piece = restore(image[..., top:bottom, left:right]).float().cpu()
            if piece.shape[-2:] != (bottom - top, right - left):
                raise ValueError(
                    f'a window of {bottom - top} x {right - left} pixels became '
                    f'{tuple(piece.shape[-2:])}: tiling needs a restorer that keeps the size'
                )
            if total is None:
                total = piece.new_zeros(*piece.shape[:-2], height, width)
                weights = piece.new_zeros(height, width)
            rows = fade(top, bottom, height, overlap)
            weight = rows[:, None] * fade(left, right, width, overlap)
            total[..., top:bottom, left:right] += weight * piece
            weights[top:bottom, left:right] += weight
    return total / weights


def windows(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Cut an axis into windows that overlap: start and end of each."""
    # The last one is moved back, since a sliver has too little context.
    last = max(0, -(-(length - tile) // GRID) * GRID)
    starts = [*range(0, last, tile - overlap), last]
    return [(start, min(start + tile, length)) for start in starts]


def fade(start: int, end: int, length: int, overlap: int) -> Tensor:
    """Weigh a window's pixels along one axis; towards the ends of the axis nothing fades."""
    weight = torch.ones(end - start)
    if overlap == 0:
        return weight
    ramp = ((torch.arange(end - start) + 0.5 - overlap / 4) / (overlap / 2)).clamp(0, 1)
    if start > 0:
        weight *= ramp
    if end < length:
        weight *= ramp.flip(0)
    return weight


def check_tile(tile: int, overlap: int = DEFAULT_OVERLAP) -> None:
    """Check a window's size and overlap."""
    for name, value in (('tile', tile), ('overlap', overlap)):
        if value % GRID:
            raise ValueError(f'{name}={value} is not a multiple of {GRID} pixels')
    if not 0 <= overlap < tile:
        raise ValueError(f'tile={tile} must be larger than overlap={overlap}, which must be >= 0')


def largest_tile(run: Callable[[int], Any], device: torch.device) -> int:
    """Side of the largest window that fits into the free memory; ``run`` restores such a square."""
    small, large = (peak_memory(partial(run, side), device) for side in _PROBES)
    per_pixel = max(1.0, (large - small) / (_PROBES[1] ** 2 - _PROBES[0] ** 2))
    side = int((_free_memory(device) / _RESERVE / per_pixel) ** 0.5) // GRID * GRID
    return max(SMALLEST_TILE, side)


def require_memory(images: Tensor) -> None:
    """Refuse images that the host has no room for: a system kills what asks for too much."""
    need, free = images.numel() * _HOST_BYTES, _free_memory(torch.device('cpu'))
    if need > free:
        raise MemoryError(
            f'{images.shape[-2]} x {images.shape[-1]} pixels need {need / 2**30:.1f} GiB of memory '
            f'even in windows, and {free / 2**30:.1f} GiB are free: cut the image'
        )


def _free_memory(device: torch.device) -> int:
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
        "can't allocate memory" in text
        or 'not enough memory' in text
        or 'out of memory' in text
        or 'ALLOC_FAILED' in text  # of CUDA's libraries
    )
