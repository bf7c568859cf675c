"""Blur by a camera that moves while the shutter is open."""

from typing import Any

import cv2
import numpy as np
from mmagic.registry import TRANSFORMS

from mmsamdistill.arguments import check_choice
from mmsamdistill.datasets.transforms.degradations import Degradation, Range, check_range

# Positions on the camera's path, per pixel of its length: enough that the kernel is smooth.
_SAMPLES_PER_PIXEL = 16


@TRANSFORMS.register_module()
class MotionBlur(Degradation):
    """Uniform motion blur: the image convolved with the path that the camera took.

    The kernel is the time that the camera spent at each offset: it sums to one, and its centre of
    mass is in the middle, so that the image does not shift against the truth.

    Args:
        kind: ``'linear'``, a straight line at constant speed (default), or ``'trajectory'``, a
            path whose direction wanders.
        length: Length of the path in pixels, or a range. Default: 15.
        angle: Direction of the path, or its first direction, in degrees from the horizontal,
            counter-clockwise, or a range. Default: (0, 180).
        wander: ``'trajectory'`` only: standard deviation in degrees of the change of direction
            over the whole path. Default: 90.
        options: ``key``, ``seed`` and ``quantise``, see
            :class:`~mmsamdistill.datasets.transforms.degradations.Degradation`.

    Example:
        >>> blur = MotionBlur(length=3, angle=0)
        >>> image = np.zeros((1, 5, 1), np.uint8)
        >>> image[0, 2] = 90
        >>> blur({'img': image})['img'][0, :, 0].tolist()
        [0, 30, 30, 30, 0]
    """

    def __init__(
        self,
        kind: str = 'linear',
        length: Range = 15.0,
        angle: Range = (0.0, 180.0),
        wander: float = 90.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_choice(('linear', 'trajectory'), kind=kind)
        self.kind = kind
        self.length = check_range('length', length, low=1.0)
        self.angle = check_range('angle', angle, low=-360.0, high=360.0)
        self.wander = check_range('wander', wander)[0]

    def degrade(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Blur the image; see :class:`Degradation`."""
        length, angle = generator.uniform(*self.length), generator.uniform(*self.angle)
        if self.kind == 'linear':
            kernel = linear_kernel(length, angle)
        else:
            kernel = trajectory_kernel(length, angle, self.wander, generator)
        # OpenCV correlates; turned by 180 degrees, the kernel convolves.
        blurred = cv2.filter2D(image, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)
        return blurred.reshape(image.shape)


def linear_kernel(length: float, angle: float) -> np.ndarray:
    """Kernel of a straight path, of odd sides.

    >>> linear_kernel(2, 90).tolist()  # centred: a half, and a quarter on either side
    [[0.0, 0.25, 0.0], [0.0, 0.5, 0.0], [0.0, 0.25, 0.0]]
    """
    steps = np.full(_count(length), np.deg2rad(angle))
    return _kernel_of_path(length, steps)


def trajectory_kernel(
    length: float, angle: float, wander: float, generator: np.random.Generator
) -> np.ndarray:
    """Kernel of a path whose direction is a random walk."""
    count = _count(length)
    turns = np.deg2rad(wander) / np.sqrt(count) * generator.standard_normal(count)
    return _kernel_of_path(length, np.deg2rad(angle) + np.cumsum(turns))


def _count(length: float) -> int:
    return int(np.ceil(length * _SAMPLES_PER_PIXEL))


def _kernel_of_path(length: float, directions: np.ndarray) -> np.ndarray:
    """Time spent in each pixel by a path at constant speed."""
    # 1. The path, in the middle of each step, so that the ends count no more than the rest.
    x = np.cumsum(np.cos(directions)) - 0.5 * np.cos(directions)
    y = 0.5 * np.sin(directions) - np.cumsum(np.sin(directions))
    path = np.stack([y, x]) * (length / len(directions))
    path -= path.mean(1, keepdims=True)
    # 2. How long it stays at each pixel.
    radius = int(np.ceil(np.abs(path).max() - 0.5))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float64)
    np.add.at(kernel, tuple(np.rint(path).astype(int) + radius), 1 / len(directions))
    return kernel.astype(np.float32)
