"""First step of the fast generator: which crops of an image are prompted at which points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Crop:
    """A part of an image that SAM looks at on its own.

    Attributes:
        box: Left, top, right and bottom edge in pixels of the image.
        layer: 0 for the whole image, then one more for each finer subdivision.
        image_size: Height and width of the whole image.

    Example:
        >>> Crop((2, 0, 8, 4), 1, (4, 10)).size
        (4, 6)
    """

    box: tuple[int, int, int, int]
    layer: int
    image_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crop."""
        left, top, right, bottom = self.box
        return bottom - top, right - left

    @property
    def is_whole_image(self) -> bool:
        """Whether the crop leaves nothing out."""
        return self.size == self.image_size

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The crop's pixels of an ``(H, W, 3)`` image."""
        left, top, right, bottom = self.box
        return image[top:bottom, left:right]


def crops_of_image(image_size: tuple[int, int], num_layers: int, overlap: float) -> list[Crop]:
    """The whole image and its subdivisions, in the order of the reference.

    Example:
        >>> [crop.box for crop in crops_of_image((8, 8), 1, 0.0)]
        [(0, 0, 8, 8), (0, 0, 4, 4), (0, 4, 4, 8), (4, 0, 8, 4), (4, 4, 8, 8)]

    Source: ``segment_anything``, whose function does the work.
    """
    from segment_anything.utils.amg import generate_crop_boxes

    boxes, layers = generate_crop_boxes(image_size, num_layers, overlap)
    return [Crop(tuple(box), layer, image_size) for box, layer in zip(boxes, layers, strict=True)]


def points_in_crop(crop: Crop, grids: list[np.ndarray]) -> np.ndarray:
    """Where a crop is prompted.

    Shape:
        - result: ``(P, 2)``

    Example:
        >>> points_in_crop(Crop((0, 0, 6, 4), 0, (4, 6)), [np.array([[0.5, 0.5]])]).tolist()
        [[3.0, 2.0]]

    Source: ``segment_anything``.
    """
    height, width = crop.size
    return grids[crop.layer] * np.array([[width, height]])
