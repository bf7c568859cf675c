"""Loading region maps, and moving them exactly as their images are moved."""

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from mmagic.registry import TRANSFORMS

from mmsamdistill.cache.store import RegionStore, fitting_command
from mmsamdistill.datasets.transforms.base import OwnTransform
from mmsamdistill.images.header import (
    ignores_orientation,
    is_transposed,
    read_orientation,
    turned_back,
)

IMAGE_KEYS = ('gt', 'img')


@TRANSFORMS.register_module()
class LoadRegionMap(OwnTransform):
    """Load the region map of an image from a cache.

    The map is found by the image's ``key``, its path relative to its folder without the suffix, as
    ``BasicImageDataset`` gives it; where the file's own name differs from the key (a file name
    template), by the name of ``gt_path`` or ``img_path``. ``gt`` or ``img`` is already loaded.
    Added is ``regions``, ``(H, W, 1)`` int32: MMagic's transforms transpose three axes.

    Args:
        root: Folder of the cache.
        key: Where the map goes. Default: ``'regions'``.
        deferred: Leave the decoding to the crop that follows, which asks for less than the whole;
            ``RegionDataset`` sets it where that is so. Default: False.

    Raises:
        FileNotFoundError: If there is no such cache.

    Example:
        >>> import tempfile
        >>> from mmsamdistill.cache.map_file import write_map
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_map(f'{root}/a.png', np.array([[0, 1]]), {})
        ...     LoadRegionMap(root)({'key': 'a', 'gt': np.zeros((1, 2, 3))})['regions'].shape
        (1, 2, 1)
    """

    def __init__(self, root: str, key: str = 'regions', deferred: bool = False) -> None:
        self.store = RegionStore(root)
        self.key = key
        self.deferred = deferred

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the region map."""
        # 1. Maps are of upright images; a loader may leave the pixels as the camera stored them.
        key = self.find_key(results)
        name, image = self._image(results)
        turn, path = 1, results.get(f'{name}_path')
        stored = ignores_orientation(results.get(f'{name}_color_type', 'color'))
        # An image of a database, or one that was made up, is upright.
        if stored and isinstance(path, str | Path) and Path(path).is_file():
            turn = read_orientation(path)
        # 2. A map of another size is of another image.
        labels: Any = self.store.open(key)
        size = image.shape[1::-1] if is_transposed(turn) else image.shape[:2]
        if labels.shape[:2] != size:
            own, other = (f'{height} x {width}' for height, width in (labels.shape[:2], size))
            raise ValueError(
                f'region map {self.store.path(key)} is {own}, but {_image_path(results)} is '
                f'{other} (height x width): it was made from another image. Make it again by: '
                f'{self._command(results, key)}'
            )
        if not self.deferred or turn != 1:
            labels = turned_back(labels.read(), turn)[..., None]
        return {**results, self.key: labels}

    def __repr__(self) -> str:
        return f'{type(self).__name__}(root={str(self.store.root)!r}, key={self.key!r})'

    def find_key(self, results: dict[str, Any]) -> str:
        """Find out which map of the cache, by its key there, belongs to the image of a sample."""
        tried: list[str] = []
        for key in _candidate_keys(results):
            if self.store.path(key).is_file():
                return key
            tried += [] if key in tried else [key]
        if not tried:
            raise KeyError(
                f'LoadRegionMap needs "key", "gt_path" or "img_path", got only {sorted(results)}'
            )
        paths = ', '.join(str(self.store.path(key)) for key in tried)
        raise FileNotFoundError(
            f'no region map for {_image_path(results)}: tried {paths}. Make it by: '
            f'{self._command(results, tried[0])}'
        )

    def _image(self, results: dict[str, Any]) -> tuple[str, np.ndarray]:
        """The image that the map has to fit, with its key."""
        name = next((name for name in IMAGE_KEYS if name in results), None)
        if name is None:
            raise KeyError('LoadRegionMap must come after the transforms that load "gt" or "img"')
        if isinstance(results[name], list):
            raise ValueError(
                f'LoadRegionMap takes single images; {_image_path(results)} is a sequence of frames'
            )
        return name, results[name]

    def _command(self, results: dict[str, Any], key: str) -> str:
        # It keeps all maps that are still right: an image that has changed is noticed without.
        return fitting_command(self.store, {key: [_image_path(results)]}, None, keep=True)


@TRANSFORMS.register_module()
class CarryRegions(OwnTransform):
    """Apply a transform to the images, and the very same to the region map.

    For transforms that move pixels but take no further key (``PairedRandomCrop``), or that draw
    anew for each key (``Crop``). The transform runs a second time with the region map in the
    images' place, from the same state of NumPy's, Python's and PyTorch's global generators; the
    state afterwards is as if it had run once, so that images are those of the pipeline without
    regions. A transform with a generator of its own cannot be carried so, but ``as_list``.

    Args:
        transform: The transform's configuration, or the transform.
        key: Where the region map is. Default: ``'regions'``.
        image_keys: Images that the map stands in for. Default: ``('gt', 'img')``.
        as_list: The transform takes a list of images as one and moves all alike: it runs once,
            with the map beside the first of ``image_keys``. Default: False.

    Raises:
        ValueError: When run, if the moved map does not have the moved images' size.

    Example:
        >>> double = lambda results: {**results, 'gt': results['gt'].repeat(2, axis=0)}
        >>> results = {'gt': np.zeros((2, 2, 3)), 'regions': np.ones((2, 2, 1), np.int32)}
        >>> CarryRegions(double)(results)['regions'].shape
        (4, 2, 1)
    """

    def __init__(
        self,
        transform: Any,
        key: str = 'regions',
        image_keys: Sequence[str] = IMAGE_KEYS,
        as_list: bool = False,
    ) -> None:
        if isinstance(transform, dict):
            transform = TRANSFORMS.build(dict(transform))
        self.wrapped: Any = transform
        self.key = key
        self.image_keys = tuple(image_keys)
        self.as_list = as_list

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Run the transform on the images and on the map."""
        names = [name for name in self.image_keys if name in results]
        if not names or self.key not in results:
            raise KeyError(
                f'CarryRegions needs {self.key!r}, one of {self.image_keys}, not {sorted(results)}'
            )
        moved, labels = (self._at_once if self.as_list else self._twice)(results, names)
        if moved is None:  # MMEngine's datasets then draw another image
            return None
        if labels.shape[:2] != moved[names[0]].shape[:2] or labels.ndim != 3:
            raise ValueError(
                f'{type(self.wrapped).__name__} gave a region map of shape {labels.shape} for '
                f'{names[0]} of shape {moved[names[0]].shape}; it cannot be carried'
            )
        return {**moved, self.key: np.ascontiguousarray(labels)}

    def _at_once(self, results: dict[str, Any], names: list[str]) -> tuple[Any, Any]:
        moved = self.wrapped({**results, names[0]: [results[names[0]], results[self.key]]})
        if moved is None:
            return None, None
        image, labels = moved[names[0]]
        return {**moved, names[0]: image}, labels

    def _twice(self, results: dict[str, Any], names: list[str]) -> tuple[Any, Any]:
        state, stand_in = _random_state(), self._stand_in(results, names)
        moved = self.wrapped(results)
        if moved is None:
            return None, None
        # The same once more with the map in the images' place.
        with _replayed(state):
            return moved, self.wrapped(stand_in)[names[0]]

    def _stand_in(self, results: dict[str, Any], names: list[str]) -> dict[str, Any]:
        # The images are left out of the copy: they are what is large.
        rest = {k: v for k, v in results.items() if k not in (*names, self.key)}
        labels = results[self.key]
        # The first one carries the map, which nobody needs afterwards; the others only its size.
        return {
            **copy.deepcopy(rest),
            **{name: np.zeros(labels.shape, labels.dtype) for name in names[1:]},
            names[0]: labels,
        }


def _candidate_keys(results: dict[str, Any]) -> Iterator[str]:
    """Keys under which the map may lie, the likeliest first."""
    key = str(results.get('key') or '').replace('\\', '/')
    if key:
        yield key
    for name in IMAGE_KEYS:
        path = results.get(f'{name}_path')
        if isinstance(path, str | Path):
            yield str(PurePosixPath(key).parent / Path(path).stem)


def _image_path(results: dict[str, Any]) -> Path:
    for name in (*(f'{each}_path' for each in IMAGE_KEYS), 'key'):
        if isinstance(results.get(name), str | Path):
            return Path(results[name])
    return Path('an image of unknown path')


def _random_state() -> tuple[Any, ...]:
    return np.random.get_state(), random.getstate(), torch.get_rng_state()


def _set_random_state(state: tuple[Any, ...]) -> None:
    np.random.set_state(state[0])
    random.setstate(state[1])
    torch.set_rng_state(state[2])


@contextmanager
def _replayed(state: tuple[Any, ...]) -> Iterator[None]:
    """Go back to an earlier random state, and afterwards to the present one."""
    present = _random_state()
    _set_random_state(state)
    try:
        yield
    finally:
        _set_random_state(present)
