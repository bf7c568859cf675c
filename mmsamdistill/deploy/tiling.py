"""Running a network over an image that is too large for it, in overlapping windows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Networks with strides see a window as they see the whole image only if it starts on their grid;
# the restorers in use have strides or windows of 8 or 16 pixels.
GRID = 16
DEFAULT_OVERLAP = 64


def restore_tiled(
    restore: Callable[[Tensor], Tensor], image: Tensor, tile: int, overlap: int = DEFAULT_OVERLAP
) -> Tensor:
    """Restore an image window by window and blend the results.

    In the middle half of every overlap two windows are cross-faded; a window's outermost quarter
    of it is thrown away, since the network lacks context there. So the result equals that of the
    whole image if the network sees no farther than ``overlap / 4`` pixels, and has no visible
    seams if it sees farther. Networks that pool over the whole image (NAFNet without ``Local``)
    give other results in windows.

    Args:
        restore: Maps (..., C, h, w) to images of the same size.
        image: The image, or several of one size.
        tile: Height and width of a window in pixels, a multiple of 16 larger than ``overlap``.
        overlap: How far neighbouring windows overlap at least, a multiple of 16, may be 0.

    Shape:
        - image: (..., C, H, W)
        - returns: (..., C', H, W) float32 on the CPU, with what channels ``restore`` gives

    Raises:
        ValueError: If ``tile`` or ``overlap`` is out of range, or ``restore`` changes the size.

    Example:
        >>> image = torch.rand(3, 40, 56)
        >>> bool(torch.allclose(restore_tiled(lambda x: x + 1, image, 32, 16), image + 1))
        True
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
    """Cut an axis into windows that overlap.

    The last window is moved back to be nearly as long as the others, since a sliver has too little
    context; all start on a grid of 16 pixels.

    Args:
        length: Pixels of the axis.
        tile: Pixels of a window.
        overlap: Least overlap of neighbours.

    Returns:
        Start and end of each window.

    Example:
        >>> windows(100, 48, 16)
        [(0, 48), (32, 80), (64, 100)]
    """
    last = max(0, -(-(length - tile) // GRID) * GRID)
    starts = [*range(0, last, tile - overlap), last]
    return [(start, min(start + tile, length)) for start in starts]


def fade(start: int, end: int, length: int, overlap: int) -> Tensor:
    """Weigh a window's pixels along one axis for blending.

    Args:
        start: First pixel of the window.
        end: One past its last.
        length: Pixels of the axis; towards its ends nothing fades.
        overlap: As in :func:`windows`.

    Returns:
        (end - start,) weights: 0 in the outer quarter of an overlap, a ramp to 1 in its middle
        half, 1 elsewhere.

    Example:
        >>> fade(16, 32, 32, 8)[:8]
        tensor([0.0000, 0.0000, 0.1250, 0.3750, 0.6250, 0.8750, 1.0000, 1.0000])
    """
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
    """Check a window's size and overlap.

    Args:
        tile: Pixels of a window.
        overlap: Pixels of the overlap.

    Raises:
        ValueError: If they are not multiples of 16, or the overlap does not fit into the window.

    Example:
        >>> check_tile(512)
    """
    for name, value in (('tile', tile), ('overlap', overlap)):
        if value % GRID:
            raise ValueError(f'{name}={value} is not a multiple of {GRID} pixels')
    if not 0 <= overlap < tile:
        raise ValueError(f'tile={tile} must be larger than overlap={overlap}, which must be >= 0')
