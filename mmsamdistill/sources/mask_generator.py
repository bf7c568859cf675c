"""What every source with an automatic mask generator shares: SAM, its relatives, and SAM 2."""

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmsamdistill.frozen import FrozenMaskNetwork
from mmsamdistill.regions.masks import masks_to_labels
from mmsamdistill.sources.source import RegionSource, to_unit_range
from mmsamdistill.weights.sam_weights import (
    OfficialFile,
    hash_state,
    locate_weights,
    verify_weights,
)


class MaskGeneratorRegions(RegionSource):
    """Regions from an automatic mask generator, overlapping masks painted large to small.

    The network is built on first use, frozen, in evaluation mode, and never part of a checkpoint,
    an optimiser or DDP. It follows the module to another device but not to another precision, and
    is not run under autocast, so that the same image always gives the same regions. A family of
    models derives from this class and says where its weights are, how its network is built, and
    what the names of its generators mean. Its arguments are those of :class:`SAMRegions`.
    """

    official: Mapping[str, OfficialFile] = MappingProxyType({})
    """Files of published weights, by the model's type."""

    def __init__(
        self,
        network: nn.Module | None,
        checkpoint: str | Path | None,
        sha256: str | None,
        generator: dict[str, Any] | None,
        generator_type: str | Callable[..., Any],
    ) -> None:
        super().__init__()
        if network is not None and (checkpoint is not None or sha256 is not None):
            raise ValueError('give either sam or checkpoint and sha256, not both')
        if not isinstance(generator, dict | None):
            raise TypeError(f'generator={generator!r} must be a dictionary of its arguments')
        if 'output_mode' in (generator or {}):
            raise ValueError('output_mode cannot be chosen: the masks are painted, not encoded')
        self.checkpoint = checkpoint
        self.sha256 = sha256
        self.generator = {name: _as_dtype(value) for name, value in (generator or {}).items()}
        self.generator_type = generator_type
        self.frozen = FrozenMaskNetwork(network)
        self._built_generator: Any = None

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Label maps of a batch; see :class:`RegionSource`."""
        pixels = [_to_uint8(image) for image in images]
        with torch.autocast(images.device.type, enabled=False):
            generator = self._generator_on(images.device)
            if hasattr(generator, 'label_maps'):
                maps = generator.label_maps(pixels)
            else:
                maps = [paint_records(generator.generate(each), each.shape[:2]) for each in pixels]
        return torch.from_numpy(np.stack(maps))

    def prepare(self, device: str | torch.device) -> None:
        """Build the network and its mask generator; see :class:`RegionSource`."""
        self._generator_on(torch.device(device))

    @torch.no_grad()
    def records(self, image: Tensor) -> list[dict[str, Any]]:
        """Everything the generator says about one image: the masks before they are painted."""
        with torch.autocast(image.device.type, enabled=False):
            return self._generator_on(image.device).generate(_to_uint8(image))

    def describe(self) -> dict[str, Any]:
        """Model, weights and all generator parameters, the generator's defaults included."""
        generator = self._generator_class()
        return {
            'type': type(self).__name__,
            **self._describe_model(),
            'checkpoint_sha256': self._located[1],
            'generator_type': recorded_name(generator),
            'generator': _resolved_arguments(generator, self.generator),
        }

    def extra_repr(self) -> str:
        """The parameters, for ``print(model)``."""
        names = ('model_type', 'builder', 'checkpoint', 'generator')
        values = {name: getattr(self, name, None) for name in names}
        return ', '.join(f'{k}={v!r}' for k, v in values.items() if v is not None)

    def __getstate__(self) -> dict[str, Any]:
        # A copy's generator must look through the copy's network.
        return {**self.__dict__, '_built_generator': None}

    def _describe_model(self) -> dict[str, Any]:
        """Which network it is, for :meth:`describe`."""
        return {'model_type': self.model_type}

    def _named_generator(self, name: str) -> Callable[..., Any] | str | None:
        """The generator of a short name: itself or its import path; None if there is no such."""
        raise NotImplementedError

    def _build(self) -> nn.Module:
        """The network with its weights."""
        raise NotImplementedError

    @cached_property
    def _located(self) -> tuple[Path | None, str]:
        """Path and SHA-256 of the weights, both checked; no path of those that are in no file."""
        if self.checkpoint is None and self.model_type == 'custom':
            return None, hash_state(self._network())
        source = self.checkpoint or self.official[self.model_type].url
        path = locate_weights(source, self.sha256, self.official)
        return path, verify_weights(path, self.sha256)

    def _network(self) -> nn.Module:
        """The network, built at the first call."""
        if self.frozen.empty:
            # Random weights that are about to be replaced must not change the run's random state.
            with torch.random.fork_rng(devices=[]):
                self.frozen.hold(self._build())
        return self.frozen.network

    def _generator_on(self, device: torch.device) -> Any:
        # Where the images are decides: under DDP and in a Runner they are the first to move.
        network = self._network().to(device)
        if self._built_generator is None:
            self._built_generator = self._generator_class()(network, **self.generator)
        return self._built_generator

    def _generator_class(self) -> Callable[..., Any]:
        if not isinstance(self.generator_type, str):
            return self.generator_type
        named = self._named_generator(self.generator_type)
        if callable(named):
            return named
        return import_from(named or self.generator_type, 'generator_type', "'reference', 'fast'")


def import_from(path: str, argument: str, names: str = '') -> Any:
    """Import what the ``argument`` of a configuration names, or else says which ``names`` it may.

    The last parts of the path may also be attributes or keys of a mapping:
    ``'mobile_sam.sam_model_registry.vit_t'``.
    """
    parts = path.split('.')
    if len(parts) < 2 or not all(parts):
        choices = f'{names}, a class' if names else 'a function'
        raise ValueError(
            f'unknown {argument} {path!r}; choose {choices} or the import path of one, e.g. '
            f"'package.module.name'"
        )
    for end in range(len(parts) - 1, 0, -1):
        name = '.'.join(parts[:end])
        try:
            found = import_module(name)
        except ModuleNotFoundError as error:
            # Only what is asked for may be missing, not something that it imports itself.
            if error.name is not None and (name == error.name or name.startswith(f'{error.name}.')):
                continue
            raise
        try:
            for part in parts[end:]:
                found = found[part] if isinstance(found, dict) else getattr(found, part)
        except (AttributeError, KeyError):
            raise ImportError(
                f'{argument}={path!r}: {name} has no {".".join(parts[end:])}'
            ) from None
        return found
    raise ImportError(f'{argument}={path!r}: there is no module {parts[0]}; install it')


def surviving_empty_crops(original: type, module: str) -> type:
    """A package's mask generator under the same name, made to survive crops without any mask."""
    # The originals build the crop boxes from a list, which is one-dimensional when empty, and then
    # fail to index them if no crop of the image has a mask.

    class Generator(original):
        def _process_crop(self, *args: Any, **kwargs: Any) -> Any:
            data = super()._process_crop(*args, **kwargs)
            data['crop_boxes'] = data['crop_boxes'].reshape(-1, 4).to(torch.int64)
            return data

    Generator.__module__ = module
    Generator.__name__ = Generator.__qualname__ = original.__name__
    return Generator


def _to_uint8(image: Tensor) -> np.ndarray:
    """One ``(3, H, W)`` image in [0, 1] as the ``(H, W, 3)`` array that SAM was trained on."""
    pixels = (to_unit_range(image) * 255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().cpu().numpy()


def paint_records(records: list[dict[str, Any]], size: tuple[int, ...]) -> np.ndarray:
    """The masks of an image of this size as a label map, large ones first."""
    if not records:
        return np.zeros(size, np.int32)
    return masks_to_labels(np.stack([record['segmentation'] for record in records]))


def _as_dtype(value: Any) -> Any:
    """A dtype for its name with 'torch.', as command lines and files write it; else the value."""
    if isinstance(value, str) and value.startswith('torch.'):
        return getattr(torch, value.removeprefix('torch.'), value)
    return value


def _resolved_arguments(generator: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Given arguments over the generator's defaults, as plain JSON types."""
    signature = inspect.signature(generator).parameters
    # The first argument is the network.
    defaults = {
        name: parameter.default
        for name, parameter in list(signature.items())[1:]
        if parameter.default is not parameter.empty
    }
    return {name: jsonable(value) for name, value in {**defaults, **given}.items()}


def recorded_name(thing: Any) -> str:
    """The name by which manifests know a class or a function: moved, it keeps its first one."""
    return getattr(thing, 'recorded_name', f'{thing.__module__}.{thing.__qualname__}')


def jsonable(value: Any) -> Any:
    """A value of a configuration as plain JSON types."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(name): jsonable(item) for name, item in value.items()}
    return str(value) if isinstance(value, torch.dtype | Path) else value
