"""Degrading images while loading them, reproducibly: the common part, and Gaussian noise.

Values are on the scale of 8-bit images, 0 to 255, whatever the array's dtype. The degradations are
ours: they follow the usual models, not any data set's generator.
"""

import hashlib
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmagic.registry import TRANSFORMS

from mmsamdistill.datasets.transforms.base import OwnTransform

Range = float | tuple[float, float]
_Bounds = tuple[float, float]


class Degradation(OwnTransform):
    """Base of the degradations: where the image is, random numbers, rounding.

    Args:
        key: Image to degrade, in place of itself; copy ``gt`` to ``img`` before (``CopyValues``)
            and degrade ``img``. Default: ``'img'``.
        seed: None draws from NumPy's global random state, which MMEngine seeds in each worker: for
            training. A number makes the degradation a function of the number, the transform's
            type and the image's ``key`` or path: every test sees the same image, in any order and
            number of workers. Default: None.
        quantise: Round and clip to 0..255 as an 8-bit file does, and keep the image's dtype;
            otherwise the result is float32. Default: True.
    """

    geometric: ClassVar[str | bool] = False
    """Every pixel stays where it is, so that region maps need no rewriting."""

    def __init__(self, key: str = 'img', seed: int | None = None, quantise: bool = True) -> None:
        self.key = key
        self.seed = seed
        self.quantise = quantise

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Degrade the image."""
        hint = (
            'to degrade the truth, copy it first: dict(type="CopyValues", src_keys=["gt"], '
            'dst_keys=["img"])'
        )
        image = self._get(results, self.key, hint)
        if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
            raise TypeError(
                f'{type(self).__name__} takes an (H, W, C) array, got {type(image).__name__}'
            )
        # In floating point, and back to what the next transform expects.
        degraded = self.degrade(image.astype(np.float32), self._generator(results))
        return {**results, self.key: quantise(degraded, image.dtype) if self.quantise else degraded}

    @abstractmethod
    def degrade(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Degrade one float32 image in 0 to 255, ``(H, W)`` or ``(H, W, C)``, which may be changed.

        All random numbers come from the generator; the result is neither rounded nor clipped.
        """

    def _generator(self, results: dict[str, Any]) -> np.random.Generator:
        if self.seed is None:
            return np.random.default_rng(np.random.randint(0, 2**32, 4, dtype=np.uint32))
        name = _name_of(results, self.key)
        return seeded_generator(self.seed, type(self).__name__, name)


@TRANSFORMS.register_module()
class AddGaussianNoise(Degradation):
    """White Gaussian noise, independent for each pixel and channel.

    Colour denoising is usually trained and tested on noisy images that are neither rounded nor
    clipped: ``quantise=False``.

    Args:
        sigma: Standard deviation on the scale of 0 to 255, or the range from which it is drawn
            uniformly for each image (blind denoising). Default: 50.
        clip: Clip to 0..255 without rounding. Has no effect on a quantised image, which is clipped
            anyway. Default: False.
        options: ``key``, ``seed`` and ``quantise``, see
            :class:`~mmsamdistill.datasets.transforms.degradations.Degradation`.

    Example:
        >>> noise = AddGaussianNoise(sigma=10, seed=0)
        >>> noise({'img': np.full((2, 2, 1), 128, np.uint8), 'key': 'a'})['img'].dtype
        dtype('uint8')
    """

    def __init__(self, sigma: Range = 50.0, clip: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.sigma = check_range('sigma', sigma)
        self.clip = clip

    def degrade(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Add noise; see :class:`Degradation`."""
        sigma = generator.uniform(*self.sigma)
        noise = generator.standard_normal(image.shape, dtype=np.float32)
        noisy = image + np.float32(sigma) * noise
        return noisy.clip(0, 255) if self.clip else noisy


def quantise(image: np.ndarray, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """Round and clip to what an 8-bit file can hold."""
    return np.rint(image).clip(0, 255).astype(dtype)


def seeded_generator(*parts: object) -> np.random.Generator:
    """A random generator that depends on the parts alone, and is the same in every process."""
    text = '\0'.join(map(str, parts))
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def check_range(name: str, value: Range, low: float = 0.0, high: float = np.inf) -> _Bounds:
    """Read a number or a ``(from, to)`` range."""
    bounds = list(value) if isinstance(value, (tuple, list)) else [value, value]
    if len(bounds) != 2 or not low <= bounds[0] <= bounds[1] <= high:
        raise ValueError(
            f'{name} must be a number or (from, to) within {low:g}..{high:g}, got {value!r}'
        )
    return float(bounds[0]), float(bounds[1])


def _name_of(results: dict[str, Any], key: str) -> str:
    """Name of the image, the same on every machine: never an absolute path."""
    if results.get('key') is not None:
        return str(results['key']).replace('\\', '/')
    for name in (f'{key}_path', 'gt_path', 'img_path'):
        if isinstance(results.get(name), str | Path):
            return Path(results[name]).stem
    raise KeyError(
        f'a seeded degradation needs the name of the image: results["key"], "{key}_path" or '
        f'"gt_path"; there are only {sorted(results)}'
    )
