"""From one image file to the regions that are stored for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from mmsamdistill.cache.jpeg import jpeg_is_whole
from mmsamdistill.cache.map_file import compact_for_storage
from mmsamdistill.images.png import check_png
from mmsamdistill.regions.masks import masks_to_labels
from mmsamdistill.sources.source import RegionSource


def decode_image(data: bytes, path: str | Path) -> np.ndarray:
    """Decode an image as MMagic's loader does; a truncated one is an error.

    Args:
        data: The file's content.
        path: Its path, for the message.

    Returns:
        ``(H, W, 3)`` uint8, RGB.

    Raises:
        ValueError: If the image is damaged.

    Source: ours.
    """
    if data.startswith(b'\x89PNG'):
        check_png(data, path)
    # OpenCV fills the missing part of a JPEG with grey.
    if data.startswith(b'\xff\xd8') and not jpeg_is_whole(data):
        raise ValueError(f'{path} is damaged: it ends too early')
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise ValueError(f'{path} cannot be read as an image')
    return np.ascontiguousarray(pixels[..., ::-1])


def find_regions(
    pixels: np.ndarray, source: RegionSource, masks: bool, device: str | torch.device
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Regions of one decoded image, as they are stored.

    Args:
        pixels: RGB image, uint8.
        source: Region source.
        masks: Whether to take the map from the source's masks and return these too.
        device: Where to compute.

    Shape:
        - pixels: ``(H, W, 3)``

    Returns:
        ``(H, W)`` labels without gaps, and the records of the masks, if any.

    Source: ours.
    """
    image = torch.from_numpy(pixels).to(device).permute(2, 0, 1).float() / 255
    if not masks:
        return compact_for_storage(source(image[None])[0].cpu().numpy()), []
    records = source.records(image)
    empty = np.zeros((0, *pixels.shape[:2]), bool)
    stack = np.stack([each['segmentation'] for each in records]) if records else empty
    return compact_for_storage(masks_to_labels(stack)), records
