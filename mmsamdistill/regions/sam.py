"""Regions from the Segment Anything Model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.frozen import FrozenNetwork
from mmsamdistill.regions.masks import masks_to_labels
from mmsamdistill.regions.sam_weights import (
    OFFICIAL_FILES,
    hash_state,
    load_weights,
    locate_weights,
    verify_weights,
)
from mmsamdistill.regions.source import RegionSource, to_unit_range

_FAST = 'mmsamdistill.regions.fast_sam.FastSamMaskGenerator'


@MODELS.register_module()
class SAMRegions(RegionSource):
    """Regions from SAM's automatic mask generation, overlapping masks painted large to small.

    SAM is only looked at: it is built on first use, frozen, in evaluation mode, in float32, and
    never part of a checkpoint, an optimiser or DDP. It follows the module to another device, but
    not to another precision, and it is not run under autocast, so that the same image always gives
    the same regions.

    Args:
        model_type: ``'vit_b'`` (default), ``'vit_l'`` or ``'vit_h'``.
        checkpoint: Path or URL of the weights, ``.pth`` or ``.safetensors``. Default: None, the
            official file of the model type, downloaded once.
        sha256: Expected SHA-256 of the checkpoint or its beginning. Default: None; files with an
            official name are always checked.
        sam: A ``Sam`` object to use as it is, instead of the three above; frozen in place.
        generator: Arguments of the mask generator: ``points_per_side``, ``points_per_batch``,
            ``pred_iou_thresh``, ``stability_score_thresh``, ``stability_score_offset``,
            ``box_nms_thresh``, ``crop_n_layers``, ``crop_n_points_downscale_factor``,
            ``crop_nms_thresh``, ``crop_overlap_ratio``, ``min_mask_region_area``. Their defaults
            are the generator's own.
        generator_type: ``'reference'`` (default, ``segment_anything.SamAutomaticMaskGenerator``),
            ``'fast'`` (:class:`FastSamMaskGenerator`, which takes the same arguments and more), a
            class, or its import path. It is called with the ``Sam`` and the arguments above; its
            ``generate`` takes an ``(H, W, 3)`` uint8 RGB array and returns records as the
            reference does. If it has ``label_maps``, whole batches are given to that.

    Shape:
        - images: ``(N, 3, H, W)``
        - result: ``(N, H, W)`` int64; ``m + 1`` for the m-th mask, 0 where there is none

    Raises:
        TypeError: If ``sam`` is not a module.
        ValueError: If the model type is unknown, or ``sam`` is given together with weights.

    Example:
        >>> regions = SAMRegions('vit_b', generator=dict(points_per_side=16))
        >>> list(regions.parameters()), list(regions.state_dict())  # nothing is loaded yet
        ([], [])

    Source: Kirillov et al., Segment Anything, 2023; the painting order is ours.
    """

    def __init__(
        self,
        model_type: str = 'vit_b',
        checkpoint: str | Path | None = None,
        *,
        sha256: str | None = None,
        sam: nn.Module | None = None,
        generator: dict[str, Any] | None = None,
        generator_type: str | Callable[..., Any] = 'reference',
    ) -> None:
        super().__init__()
        if model_type not in OFFICIAL_FILES:
            raise ValueError(
                f'unknown SAM model_type {model_type!r}; choose from {list(OFFICIAL_FILES)}'
            )
        if sam is not None and (checkpoint is not None or sha256 is not None):
            raise ValueError('give either sam or checkpoint and sha256, not both')
        if 'output_mode' in (generator or {}):
            raise ValueError('output_mode cannot be chosen: the masks are painted, not encoded')
        self.model_type = model_type if sam is None else 'custom'
        self.checkpoint = checkpoint
        self.sha256 = sha256
        self.generator = dict(generator or {})
        self.generator_type = generator_type
        self.frozen = _FrozenSam(sam)
        self._weights: tuple[Path | None, str] | None = None
        self._built_generator: Any = None

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Label maps of a batch; see :class:`RegionSource`."""
        pixels = [_to_uint8(image) for image in images]
        with torch.autocast(images.device.type, enabled=False):
            generator = self._generator_on(images.device)
            if hasattr(generator, 'label_maps'):
                maps = generator.label_maps(pixels)
            else:
                maps = [_paint(generator.generate(array), array.shape[:2]) for array in pixels]
        return torch.from_numpy(np.stack(maps))

    @torch.no_grad()
    def records(self, image: Tensor) -> list[dict[str, Any]]:
        """Everything SAM says about one image: the masks before they are painted.

        Args:
            image: RGB image in [0, 1]; values outside are clamped, NaN becomes 0.

        Shape:
            - image: ``(3, H, W)``

        Returns:
            One record per mask with ``segmentation`` (``(H, W)`` bool array), ``area``, ``bbox``,
            ``predicted_iou``, ``stability_score``, ``point_coords`` and ``crop_box``.

        Raises:
            ImportError: If ``segment_anything`` is not installed.
            FileNotFoundError: If the checkpoint does not exist.
            ValueError: If the checkpoint is damaged or another model's.
        """
        with torch.autocast(image.device.type, enabled=False):
            return self._generator_on(image.device).generate(_to_uint8(image))

    def describe(self) -> dict[str, Any]:
        """Model, weights and all generator parameters, the generator's defaults included."""
        generator = self._generator_class()
        return {
            'type': type(self).__name__,
            'model_type': self.model_type,
            'checkpoint_sha256': self._locate()[1],
            'generator_type': f'{generator.__module__}.{generator.__qualname__}',
            'generator': _resolved_arguments(generator, self.generator),
        }

    def extra_repr(self) -> str:
        """The parameters, for ``print(model)``."""
        return (
            f'model_type={self.model_type!r}, checkpoint={self.checkpoint!r}, '
            f'generator={self.generator}'
        )

    def _generator_on(self, device: torch.device) -> Any:
        if self.frozen.empty:
            self.frozen.hold(self._build())
        # Where the images are decides: under DDP and in a Runner they are the first to move.
        self.frozen.network.to(device)
        if self._built_generator is None:
            self._built_generator = self._generator_class()(self.frozen.network, **self.generator)
        return self._built_generator

    def _generator_class(self) -> Callable[..., Any]:
        if not isinstance(self.generator_type, str):
            return self.generator_type
        if self.generator_type == 'reference':
            return _reference_generator()
        path = _FAST if self.generator_type == 'fast' else self.generator_type
        module, _, name = path.rpartition('.')
        if not module:
            raise ValueError(
                f"unknown generator_type {path!r}; choose 'reference', 'fast', a class or the "
                f"import path of one, e.g. '{_FAST}'"
            )
        return getattr(import_module(module), name)

    def _locate(self) -> tuple[Path | None, str]:
        """Path and SHA-256 of the weights; checked once."""
        if self._weights is None:
            if self.model_type == 'custom':
                self._weights = None, hash_state(self.frozen.network)
            else:
                source = self.checkpoint or OFFICIAL_FILES[self.model_type].url
                path = locate_weights(source, self.sha256)
                self._weights = path, verify_weights(path, self.sha256)
        return self._weights

    def _build(self) -> nn.Module:
        package = _import_segment_anything()
        path, _ = self._locate()
        # The random weights that are about to be replaced must not change the run's random state.
        with torch.random.fork_rng(devices=[]):
            sam = package.sam_model_registry[self.model_type](checkpoint=None)
        load_weights(sam, path, self.model_type)
        return sam


class _FrozenSam(FrozenNetwork):
    """Follows its owner to a device, never to a precision: prompts and thresholds are float32."""

    @property
    def empty(self) -> bool:
        return not self._held

    def _apply(self, fn: Callable, *args: object, **kwargs: object) -> _FrozenSam:
        for network in self._held:
            probe = next(network.parameters())
            network.to(fn(torch.empty(0, device=probe.device)).device)
        return self


def _to_uint8(image: Tensor) -> np.ndarray:
    """One ``(3, H, W)`` image in [0, 1] as the ``(H, W, 3)`` array that SAM was trained on."""
    pixels = (to_unit_range(image) * 255).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).contiguous().cpu().numpy()


def _paint(records: list[dict[str, Any]], size: tuple[int, ...]) -> np.ndarray:
    if not records:
        return np.zeros(size, np.int32)
    return masks_to_labels(np.stack([record['segmentation'] for record in records]))


def _import_segment_anything() -> Any:
    try:
        import segment_anything
    except ImportError as error:
        raise ImportError(
            'SAMRegions needs the segment_anything package: pip install segment-anything. '
            'SuperpixelRegions and CachedRegions work without it.'
        ) from error
    return segment_anything


def _reference_generator() -> type:
    """The package's generator, made to survive crops without any mask."""
    package = _import_segment_anything()

    class SamAutomaticMaskGenerator(package.SamAutomaticMaskGenerator):
        # The original builds the crop boxes from a list, which is one-dimensional when empty, and
        # then fails to index them if no crop of the image has a mask.
        def _process_crop(self, *args: Any, **kwargs: Any) -> Any:
            data = super()._process_crop(*args, **kwargs)
            data['crop_boxes'] = data['crop_boxes'].reshape(-1, 4).to(torch.int64)
            return data

    SamAutomaticMaskGenerator.__module__ = package.__name__
    SamAutomaticMaskGenerator.__qualname__ = 'SamAutomaticMaskGenerator'
    return SamAutomaticMaskGenerator


def _resolved_arguments(generator: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Given arguments over the generator's defaults, as plain JSON types."""
    signature = inspect.signature(generator).parameters
    # The first argument is the Sam.
    defaults = {
        name: parameter.default
        for name, parameter in list(signature.items())[1:]
        if parameter.default is not parameter.empty
    }
    return {name: _jsonable(value) for name, value in {**defaults, **given}.items()}


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return str(value) if isinstance(value, torch.dtype) else value
