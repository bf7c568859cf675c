"""The region map: a batch of label maps and everything that is computed with it."""

import torch
from torch import Tensor

from mmsamdistill.regions.compaction import compact_over_batch
from mmsamdistill.regions.membership import RegionMembership, channel_rows, membership_of, widen

# Where neighbours are added to one sum, each addition waits for the one before. So a region has one
# sum for every eighth column, and backwards too; of many small regions neighbours differ anyway.
_STRIPES = 8
_MOST_STRIPED_REGIONS = 2048


class RegionMap:
    """A batch of label maps whose regions are numbered ``1..K`` over the whole batch.

    Labels are arbitrary and collide between images. Numbered once over the batch, every operation
    on regions becomes one gather or one scatter-add, linear in pixels whatever K is, and no
    ``(N, K, H, W)`` tensor is built. Use :meth:`from_labels`; the constructor takes numbers that
    are already unique and without gaps.

    Results in image space do not depend on which numbers the labels carry: bit-identical on a CPU,
    on a GPU up to the order of atomic additions (none under
    ``torch.use_deterministic_algorithms``). Rows of per-region results follow the numbers. A
    TypeError names another dtype than a method takes, a ValueError another shape.

    Args:
        ids: Region of each pixel, ``(N, H, W)`` int64; 0 is no region, ``1..K`` are used by exactly
            one image each.
        image_index: Image of region ``k`` at ``k - 1``, ``(K,)`` int64.
        counts: Number of pixels of region ``k`` at ``k - 1``, ``(K,)`` int64.

    Example:
        >>> regions = RegionMap.from_labels(torch.tensor([[[0, 900]], [[900, 900]]]))
        >>> regions.ids.tolist(), regions.num_regions, regions.image_index.tolist()
        ([[[0, 1]], [[2, 2]]], 2, [0, 1])
        >>> image = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 5.0]]]])
        >>> regions.broadcast(regions.pool(image)).flatten().tolist()
        [0.0, 2.0, 4.0, 4.0]
    """

    def __init__(self, ids: Tensor, image_index: Tensor, counts: Tensor) -> None:
        self.ids = ids
        self.image_index = image_index
        self._counts = counts
        self._places: tuple[Tensor, int] | None = None
        self._memberships: dict[tuple[int, int], RegionMembership] = {}
        self._most: int | None = None

    @classmethod
    def from_labels(cls, labels: 'Tensor | RegionMap') -> 'RegionMap':
        """Number the regions of a batch of label maps.

        Args:
            labels: Label maps ``(N, H, W)`` of any integer dtype, at least 0; 0 is "no region".
                Equal labels in two images are two regions. A region map is returned as it is.
        """
        if isinstance(labels, cls):
            return labels
        return cls(*compact_over_batch(labels))

    @property
    def num_regions(self) -> int:
        """K, the number of regions over the batch; may be 0."""
        return self.image_index.numel()

    @property
    def most_in_an_image(self) -> int:
        """Number of regions of the image that has most of them."""
        # Kept like memberships: what depends on data ends a compiler's graph where it is computed.
        if self._most is None:
            self._most = int(self.image_index.bincount().max()) if self.num_regions else 0
        return self._most

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(N, H, W)``."""
        num_images, height, width = self.ids.shape
        return num_images, height, width

    @property
    def device(self) -> torch.device:
        """Where the map lies."""
        return self.ids.device

    def to(self, device: torch.device | str) -> 'RegionMap':
        """Copy of the map on another device; itself if it lies there already."""
        if self.ids.device == torch.device(device):
            return self
        return RegionMap(*(t.to(device) for t in (self.ids, self.image_index, self._counts)))

    def sizes(self) -> Tensor:
        """Pixels of each region: ``(K,)`` float32, exact up to 16 million, each at least 1."""
        return self._counts.float()

    def pool(self, x: Tensor) -> Tensor:
        """Mean of each region.

        Sums are taken in float32 (float64 for float64 input), so that a large region neither
        overflows nor stalls in float16; the means come back in the input's dtype. Differentiable;
        without any region the result is empty and its gradient zero.

        Args:
            x: Images or features at the map's resolution, floating point, ``(N, C, H, W)``.

        Returns:
            The means, ``(K, C)``: row ``k - 1`` for region ``k``.
        """
        rows = channel_rows(x, self.shape, 'x')
        slots, stripes = self._slots
        totals = rows.new_zeros(rows.shape[0], (self.num_regions + 1) * stripes)
        totals = totals.index_add(1, slots, rows).unflatten(1, (-1, stripes)).sum(2)[:, 1:]
        return (totals / self._counts.to(rows.dtype)).t().to(x.dtype)

    def broadcast(self, values: Tensor, background: float = 0.0) -> Tensor:
        """Give every pixel its region's value.

        Differentiable; for float16 and bfloat16 the gradient of a region is summed in float32.

        Args:
            values: One row per region, floating point, ``(K, C)``.
            background: Value of the pixels in no region. Default: 0.

        Returns:
            The image of values, ``(N, C, H, W)`` in the dtype of ``values``.
        """
        if not values.is_floating_point():
            raise TypeError(f'values must be a floating-point tensor, got {values.dtype}')
        if values.dim() != 2 or values.shape[0] != self.num_regions:
            raise ValueError(
                f'values must be ({self.num_regions}, C), a row a region, got {tuple(values.shape)}'
            )
        rows = widen(values).t()
        # Row 0 is what is in no region, so that one look-up does for all pixels.
        outside = rows.new_full((rows.shape[0], 1), background)
        slots, stripes = self._slots
        table = torch.cat([outside, rows], dim=1).repeat_interleave(stripes, 1)
        pixels = table.index_select(1, slots)
        num_images, height, width = self.shape
        image = pixels.view(rows.shape[0], num_images, height, width).movedim(0, 1)
        return image.to(values.dtype).contiguous()

    @property
    def _slots(self) -> tuple[Tensor, int]:
        """Where the sums of each pixel's region lie in a table, and how many a region has."""
        if self._places is None:  # not a cached_property, whose lock no compiler goes through
            if self.num_regions > _MOST_STRIPED_REGIONS:
                self._places = self.ids.flatten(), 1
            else:
                stripe = torch.arange(self.ids.shape[2], device=self.device) % _STRIPES
                self._places = (self.ids * _STRIPES + stripe).flatten(), _STRIPES
        return self._places

    def boundaries(self) -> Tensor:
        """Pixels whose region differs from that of a 4-neighbour: ``(N, 1, H, W)`` bool.

        Both sides of a border are marked, transitions to "no region" included; the border of the
        image is not a boundary.

        Example:
            >>> RegionMap.from_labels(torch.tensor([[[5, 5, 0]]])).boundaries().tolist()
            [[[[False, True, True]]]]
        """
        marked = torch.zeros_like(self.ids, dtype=torch.bool)
        down = self.ids[:, 1:] != self.ids[:, :-1]
        across = self.ids[:, :, 1:] != self.ids[:, :, :-1]
        marked[:, 1:] |= down
        marked[:, :-1] |= down
        marked[:, :, 1:] |= across
        marked[:, :, :-1] |= across
        return marked.unsqueeze(1)

    def membership(self, size: tuple[int, int]) -> RegionMembership:
        """Fractional membership of the cells of a coarser grid, computed once for each size.

        Args:
            size: ``(h, w)`` of the feature grid, at most the map's; need not divide it.

        Example:
            >>> regions = RegionMap.from_labels(torch.tensor([[[1, 1, 1, 2]]]))
            >>> regions.membership((1, 2)).mass.tolist()
            [1.5, 0.5]
        """
        if size not in self._memberships:
            self._memberships[size] = membership_of(self.ids, self.num_regions, size)
        return self._memberships[size]

    def __repr__(self) -> str:
        return f'RegionMap(shape={self.shape}, num_regions={self.num_regions})'
