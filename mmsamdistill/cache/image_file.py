"""From one decoded image to the regions that are stored for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mmsamdistill.cache.map_file import compact_for_storage
from mmsamdistill.regions.masks import masks_to_labels
from mmsamdistill.sources.source import RegionSource


def find_regions(
    pixels: np.ndarray, source: RegionSource, masks: bool, device: str | torch.device
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Regions of one decoded image, ``(H, W, 3)`` uint8 in RGB, as they are stored.

    With ``masks``, the map is made of the source's masks and these are returned too.
    """
    image = torch.from_numpy(pixels).to(device).permute(2, 0, 1).float() / 255
    if not masks:
        return compact_for_storage(source(image[None])[0].cpu().numpy()), []
    records = source.records(image)
    empty = np.zeros((0, *pixels.shape[:2]), bool)
    stack = np.stack([each['segmentation'] for each in records]) if records else empty
    return compact_for_storage(masks_to_labels(stack)), records
