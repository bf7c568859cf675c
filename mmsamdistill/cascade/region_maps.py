"""The regions of a batch, whatever they come from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmsamdistill.cascade.checks import check_region_size
from mmsamdistill.cascade.image_range import to_unit_rgb
from mmsamdistill.regions import RegionMap


def regions_of(
    restored: Tensor, source: nn.Module | None, data_preprocessor: nn.Module, data_samples: Any
) -> RegionMap:
    """Find regions in the restored images, or take them from a cache; without a source, none."""
    if source is None:
        labels = restored.new_zeros((len(restored), *restored.shape[-2:]), dtype=torch.long)
    else:
        seen = to_unit_rgb(restored.detach(), data_preprocessor, data_samples)
        labels = source(seen.float().clamp(0, 1), data_samples)
    check_region_size(labels, restored)
    return RegionMap.from_labels(labels)
