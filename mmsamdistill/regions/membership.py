"""How much of each cell of a coarser grid belongs to which region."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False, repr=False)  # tensors are compared by none, and shown by none
class RegionMembership:
    r"""Fractional membership of the cells of a feature grid in regions, as sparse triples.

    Features of a network are coarser than the image. Picking one region per cell would lose thin
    regions and blur the borders of others; here a cell belongs to each region by the share of its
    pixels that do. Pixel ``(y, x)`` of an ``(H, W)`` map belongs to cell
    ``(y * h // H, x * w // W)`` of an ``(h, w)`` grid. Over the regions of a cell, region 0
    included, the weights sum to one. Made by :meth:`RegionMap.membership`.

    Args:
        cell: Cell of each triple, numbered ``(image * h + row) * w + column``: ``(T,)``, where T is
            at most the number of pixels; each pair of cell and region occurs once.
        region: Region id of each triple, 0 for no region.
        weight: Share of the cell's pixels that lie in the region, in (0, 1].
        num_regions: K, the number of regions over the batch.
        grid: ``(N, h, w)``.

    Example:
        >>> cell = region = torch.tensor([0, 1])
        >>> member = RegionMembership(cell, region, torch.ones(2), num_regions=1, grid=(1, 1, 2))
        >>> member.pool(torch.tensor([[[[5.0, 7.0]]]])).tolist()
        [[7.0]]
    """

    cell: Tensor
    region: Tensor
    weight: Tensor
    num_regions: int
    grid: tuple[int, int, int]

    def __post_init__(self) -> None:
        # Total membership of each region, in cells: (K,) float32, each above zero.
        self.mass = self._masses(self.weight)

    def _masses(self, weight: Tensor) -> Tensor:
        return weight.new_zeros(self.num_regions + 1).index_add(0, self.region, weight)[1:]

    def pool(self, features: Tensor) -> Tensor:
        r"""Mean feature of each region, weighted by membership.

        ``p_k = sum_c w_ck f_c / sum_c w_ck`` over the cells ``c``, accumulated in float32 (float64
        for float64 features) and returned in the features' dtype. Differentiable.

        Args:
            features: Features on the grid, ``(N, C, h, w)``.

        Returns:
            The means, ``(K, C)``: row ``k - 1`` for region ``k``.
        """
        rows = channel_rows(features, self.grid, 'features')
        weight = self.weight.to(rows.dtype)
        # Every triple carries its share of a cell's feature to its region.
        weighted = rows.index_select(1, self.cell) * weight
        totals = rows.new_zeros(rows.shape[0], self.num_regions + 1)
        totals = totals.index_add(1, self.region, weighted)[:, 1:]
        return (totals / self._masses(weight)).t().to(features.dtype)

    def __repr__(self) -> str:
        return f'RegionMembership(grid={self.grid}, num_regions={self.num_regions})'


def membership_of(ids: Tensor, num_regions: int, size: tuple[int, int]) -> RegionMembership:
    """Compute the membership of a grid's cells in the regions of batch-wide ids ``(N, H, W)``."""
    num_images, height, width = ids.shape
    rows, columns = (int(length) for length in size)
    if not (0 < rows <= height and 0 < columns <= width):
        raise ValueError(
            f'a feature grid must be at least 1x1 and no finer than the region map '
            f'{height}x{width}, got {rows}x{columns}'
        )
    # 1. Equal neighbours in a row are merged in one linear pass: only runs are sorted, not pixels.
    cells = _cell_of_pixels(ids, rows, columns)
    keys, counts = torch.unique_consecutive(
        (cells * (num_regions + 1) + ids).flatten(), return_counts=True
    )
    merged, inverse = torch.unique(keys, return_inverse=True)
    counts = torch.zeros_like(merged).index_add(0, inverse, counts)
    # 2. Counts become shares of the cells.
    cell = merged // (num_regions + 1)
    cell_pixels = torch.bincount(cells.flatten(), minlength=num_images * rows * columns)
    weight = counts.float() / cell_pixels[cell]
    grid = (num_images, rows, columns)
    return RegionMembership(cell, merged % (num_regions + 1), weight, num_regions, grid)


def _cell_of_pixels(ids: Tensor, rows: int, columns: int) -> Tensor:
    num_images, height, width = ids.shape
    image = torch.arange(num_images, device=ids.device).view(-1, 1, 1)
    row = (torch.arange(height, device=ids.device) * rows // height).view(1, -1, 1)
    column = (torch.arange(width, device=ids.device) * columns // width).view(1, 1, -1)
    return (image * rows + row) * columns + column


def channel_rows(x: Tensor, grid: tuple[int, int, int], name: str) -> Tensor:
    """Lay images ``(N, C, H, W)`` out as a row per channel, in the dtype that sums are taken in."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f'{name} must be a floating-point tensor, got {kind}')
    if x.dim() != 4 or (x.shape[0], *x.shape[2:]) != tuple(grid):
        num_images, height, width = grid
        raise ValueError(
            f'{name} must be ({num_images}, C, {height}, {width}), got {tuple(x.shape)}'
        )
    return widen(x).movedim(1, 0).reshape(x.shape[1], -1)


def widen(x: Tensor) -> Tensor:
    """Return ``x`` in the dtype that sums are taken in: float32, or float64 if it is float64."""
    return x if x.dtype == torch.float64 else x.float()
