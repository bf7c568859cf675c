"""Regions that carry no information, to find out whether information is what helps."""

from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.arguments import check_choice
from mmsamdistill.sources.source import RegionSource, build_source


@MODELS.register_module()
class NoRegions(RegionSource):
    """No region anywhere: the cascade without a prior.

    The control for "does a second restorer help by itself": same parameters, same losses, but all
    that depends on regions is empty.

    Example:
        >>> NoRegions()(torch.rand(1, 3, 1, 2)).tolist()
        [[[0, 0]]]
    """

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """All zeros; see :class:`RegionSource`."""
        return torch.zeros_like(images[:, 0], dtype=torch.int64)

    def describe(self) -> dict[str, Any]:
        """The type."""
        return {'type': type(self).__name__}


@MODELS.register_module()
class ShuffledRegions(RegionSource):
    """Real region maps on the wrong images: same statistics, no information.

    The control for "does it matter where the regions are": numbers, sizes and shapes of the
    regions are those of the wrapped source, but they do not belong to the image they are given
    with. If training with them helps as much as with the source itself, the gain does not come
    from semantics.

    Draws from torch's global random state, so runs repeat under ``torch.manual_seed`` and differ
    from step to step.

    Args:
        source: The source of real maps, built or as a config.
        mode: ``'batch'`` (default): the map of another image of the batch, flipped at random;
            every shape stays whole. A batch of one falls back to ``'roll'``. ``'roll'``: the
            image's own map, shifted cyclically by a quarter to three quarters of each side and
            flipped at random; regions at the seam are cut in two.

    Raises:
        TypeError: If ``source`` is neither a config nor a module.
        ValueError: If ``mode`` is unknown.

    Example:
        >>> class Columns(RegionSource):
        ...     def find(self, images, data_samples=None):
        ...         return torch.arange(4).repeat(len(images), 1, 1)
        >>> ShuffledRegions(Columns(), mode='roll')(torch.rand(1, 3, 1, 4)).unique().tolist()
        [0, 1, 2, 3]
    """

    def __init__(self, source: dict[str, Any] | nn.Module, mode: str = 'batch') -> None:
        super().__init__()
        check_choice(('batch', 'roll'), mode=mode)
        self.source = build_source('source', source)
        self.mode = mode
        self.online = self.source.online

    def prepare(self, device: str | torch.device) -> None:
        """Prepare the wrapped source; see :class:`RegionSource`."""
        self.source.prepare(device)

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Maps of the wrapped source, moved away from their images; see :class:`RegionSource`."""
        labels = self.source(images, data_samples)
        if self.mode == 'batch' and len(labels) > 1:
            shift = _draw(1, len(labels) - 1)
            moved = labels.roll(shift, dims=0)
        else:
            moved = torch.stack([_roll_away(image) for image in labels])
        return torch.stack([_flip_at_random(image) for image in moved])

    def describe(self) -> dict[str, Any]:
        """The mode and the wrapped source's description."""
        return {'type': type(self).__name__, 'mode': self.mode, 'source': self.source.describe()}


def _draw(low: int, high: int) -> int:
    """One integer in [low, high] from torch's global random state."""
    return int(torch.randint(low, max(low, high) + 1, ()))


def _roll_away(labels: Tensor) -> Tensor:
    # By a quarter to three quarters of each side, or large regions would stay in place.
    shifts = [_draw((side + 3) // 4, 3 * side // 4) for side in labels.shape]
    return labels.roll(shifts, dims=(0, 1))


def _flip_at_random(labels: Tensor) -> Tensor:
    axes = [axis for axis in (0, 1) if _draw(0, 1)]
    return labels.flip(axes) if axes else labels
