"""From one decoded image to the regions that are stored for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mmsamdistill.cache.map_file import compact_for_storage
from mmsamdistill.sources.mask_generator import paint_records
from mmsamdistill.sources.source import RegionSource


def find_regions(
    pixels: np.ndarray, source: RegionSource, masks: bool, device: str | torch.device
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Regions of an ``(H, W, 3)`` uint8 RGB image as they are stored, made of its ``masks``."""
    image = torch.from_numpy(pixels).to(device).permute(2, 0, 1).float() / 255
    if not masks:
        return compact_for_storage(source(image[None])[0].cpu().numpy()), []
    records = source.records(image)
    return compact_for_storage(paint_records(records, pixels.shape[:2])), records
