"""Rain streaks."""

from typing import Any

import cv2
import numpy as np
from mmagic.registry import TRANSFORMS

from mmsamdistill.datasets.transforms.degradations import Degradation, Range, check_range
from mmsamdistill.datasets.transforms.motion_blur import linear_kernel


@TRANSFORMS.register_module()
class AddRain(Degradation):
    """Rain as layers of bright streaks, the additive model of the deraining literature.

    ``y = x + brightness * (S_1 + ... + S_L)``, where each ``S`` in [0, 1] is a map of streaks:
    drops at random pixels, drawn out along the direction of the rain. All layers of an image fall
    at one angle; each draws its own density, length, width and brightness.

    Args:
        density: Share of pixels in which a drop starts, in each layer, or a range in 0..1.
            Default: 0.0008.
        length: Length of the streaks in pixels, or a range. Default: (15, 40).
        angle: Slant of the streaks in degrees from the vertical, positive to the right at the
            bottom, or a range. Default: (-20, 20).
        width: Width of the streaks in pixels, or a range. Default: (1, 2).
        brightness: What the middle of a streak adds, 0 to 255, or a range. Default: (40, 120).
        layers: Number of layers. Default: 3.
        options: ``key``, ``seed`` and ``quantise``, see
            :class:`~mmsamdistill.datasets.transforms.degradations.Degradation`.

    Example:
        >>> rain = AddRain(seed=0)
        >>> clean = np.full((64, 64, 3), 100, np.uint8)
        >>> bool((rain({'img': clean, 'key': 'a'})['img'] >= clean).all())
        True
    """

    def __init__(  # a physical quantity each
        self,
        density: Range = 0.0008,
        length: Range = (15.0, 40.0),
        angle: Range = (-20.0, 20.0),
        width: Range = (1.0, 2.0),
        brightness: Range = (40.0, 120.0),
        layers: int = 3,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if layers < 1 or layers != int(layers):
            raise ValueError(f'layers must be a whole number from 1 on, got {layers}')
        self.density = check_range('density', density, high=1.0)
        self.length = check_range('length', length, low=1.0)
        self.angle = check_range('angle', angle, low=-90.0, high=90.0)
        self.width = check_range('width', width, low=1.0)
        self.brightness = check_range('brightness', brightness, high=255.0)
        self.layers = int(layers)

    def degrade(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Add the layers; see :class:`Degradation`."""
        # One angle for all layers: it is the wind's.
        ranges = (self.density, self.length, self.width, self.brightness)
        angle = generator.uniform(*self.angle)
        rain = np.zeros(image.shape[:2], np.float32)
        for _ in range(self.layers):
            density, length, width, brightness = (generator.uniform(*each) for each in ranges)
            layer = streaks(image.shape[:2], density, length, angle, width, generator)
            rain += np.float32(brightness) * layer
        return image + (rain if image.ndim == 2 else rain[..., None])


def streaks(
    size: tuple[int, ...],
    density: float,
    length: float,
    angle: float,
    width: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """One layer of rain: ``(H, W)`` in 0..1."""
    # Drops beyond the border reach into the image.
    margin = int(np.ceil(length / 2)) + 2
    field = (size[0] + 2 * margin, size[1] + 2 * margin)
    # The same random numbers whatever the density: more rain is the same rain and more.
    falls = generator.random(field, dtype=np.float32) < density
    strength = generator.uniform(0.5, 1.0, field).astype(np.float32)
    kernel = linear_kernel(length, angle - 90)
    layer = cv2.filter2D(np.where(falls, strength, 0), -1, kernel[::-1, ::-1] / kernel.max())
    if width > 1:
        # The profile across a streak: Gaussian, full width at half maximum as asked for.
        layer = cv2.GaussianBlur(layer, (0, 0), width / 2.355)
        layer *= _peak_after_blur(width)
    inside = slice(margin, -margin)
    return layer[inside, inside].clip(0, 1)


def _peak_after_blur(width: float) -> float:
    """What brings the middle of a long streak back to its brightness before it was widened."""
    line = np.zeros((31, 1), np.float32)
    line[15] = 1
    blurred = cv2.GaussianBlur(line, (1, 0), sigmaX=1e-6, sigmaY=width / 2.355)
    return float(1 / blurred.max())
