"""Regions from the Segment Anything Model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import nn

from mmsamdistill.sources.mask_generator import (
    MaskGeneratorRegions,
    import_from,
    jsonable,
    surviving_empty_crops,
)
from mmsamdistill.weights.sam_weights import OFFICIAL_FILES, load_weights

_FAST = 'mmsamdistill.fast_sam.FastSamMaskGenerator'


@MODELS.register_module()
class SAMRegions(MaskGeneratorRegions):
    """Regions from SAM's automatic mask generation, overlapping masks painted large to small.

    SAM is only looked at: built on first use, frozen, in float32, never part of a checkpoint, an
    optimiser or DDP. It follows the module to another device, but not to another precision, so that
    the same image always gives the same regions.

    Relatives of SAM are named by their builder, the function that makes a compatible ``Sam``
    object; for MobileSAM, with its package installed::

        regions=dict(type='SAMRegions', builder='mobile_sam.build_sam.build_sam_vit_t',
                     checkpoint='mobile_sam.pt')

    Args:
        model_type: ``'vit_b'`` (default), ``'vit_l'`` or ``'vit_h'``.
        checkpoint: Path or URL of the weights, ``.pth`` or ``.safetensors``. Default: None, the
            official file of the model type, downloaded once; with a ``builder``, the weights that
            it comes with.
        sha256: Expected SHA-256 of the checkpoint or its beginning. Default: None; files with an
            official name are always checked.
        sam: A ``Sam`` object to use as it is, instead of all of these; frozen in place.
        builder: Function that builds a compatible ``Sam``, instead of ``model_type``, or its import
            path. Leave reading the checkpoint to ``checkpoint``: it is read without executing
            anything in it, and every tensor must fit. Default: None.
        builder_args: Arguments of ``builder``. Default: None, none.
        generator: Arguments of the mask generator: ``points_per_side``, ``points_per_batch``,
            ``pred_iou_thresh``, ``stability_score_thresh``, ``stability_score_offset``,
            ``box_nms_thresh``, ``crop_n_layers``, ``crop_n_points_downscale_factor``,
            ``crop_nms_thresh``, ``crop_overlap_ratio``, ``min_mask_region_area``. Their defaults
            are the generator's own.
        generator_type: ``'fast'`` (default, :class:`FastSamMaskGenerator`: the same masks in less
            than half the time, and further arguments), ``'reference'``
            (``segment_anything.SamAutomaticMaskGenerator``), a class, or its import path. It is
            called with the ``Sam`` and the arguments above; its ``generate`` takes an ``(H, W, 3)``
            uint8 RGB array and returns records as the reference does. If it has ``label_maps``,
            whole batches are given to that.

    Raises:
        TypeError: If ``sam`` is not a module.
        ValueError: If the model type is unknown, or ``sam`` is given together with weights.

    Example:
        >>> regions = SAMRegions('vit_b', generator=dict(points_per_side=16))
        >>> list(regions.parameters()), list(regions.state_dict())  # nothing is loaded yet
        ([], [])

    Source: Kirillov et al., Segment Anything, 2023.
    """

    def __init__(
        self,
        model_type: str = 'vit_b',
        checkpoint: str | Path | None = None,
        *,
        sha256: str | None = None,
        sam: nn.Module | None = None,
        builder: str | Callable[..., nn.Module] | None = None,
        builder_args: dict[str, Any] | None = None,
        generator: dict[str, Any] | None = None,
        generator_type: str | Callable[..., Any] = 'fast',
    ) -> None:
        super().__init__(sam, checkpoint, sha256, generator, generator_type)
        if model_type not in OFFICIAL_FILES:
            raise ValueError(
                f'unknown SAM model_type {model_type!r}; choose from {list(OFFICIAL_FILES)}'
            )
        if sam is not None and builder is not None:
            raise ValueError('give either sam or builder, not both')
        if builder_args and builder is None:
            raise ValueError('builder_args are the arguments of a builder; name it in builder')
        self.model_type = model_type if sam is None and builder is None else 'custom'
        self.builder = builder
        self.builder_args = dict(builder_args or {})

    def _describe_model(self) -> dict[str, Any]:
        if self.builder is None:
            return {'model_type': self.model_type}
        builder = self._builder_function()
        name = getattr(builder, '__qualname__', type(builder).__qualname__)
        return {
            'model_type': self.model_type,
            'builder': f'{builder.__module__}.{name}',
            'builder_args': jsonable(self.builder_args),
        }

    def _named_generator(self, name: str) -> Callable[..., Any] | str | None:
        if name == 'reference':
            package = _import_segment_anything()
            return surviving_empty_crops(package.SamAutomaticMaskGenerator, package.__name__)
        return _FAST if name == 'fast' else None

    def _generator_on(self, device: torch.device) -> Any:
        # The fast generator takes functions of the package, for relatives of SAM as well.
        if self.generator_type in ('fast', _FAST):
            _import_segment_anything()
        return super()._generator_on(device)

    def _locate(self) -> tuple[Path | None, str]:
        return self._locate_official(OFFICIAL_FILES)

    def _build(self) -> nn.Module:
        if self.builder is None:
            sam = _import_segment_anything().sam_model_registry[self.model_type](checkpoint=None)
            load_weights(sam, self._located()[0], self.model_type)
            return sam
        sam = self._builder_function()(**self.builder_args)
        if not isinstance(sam, nn.Module):
            raise TypeError(f'builder {self.builder!r} returned {type(sam).__name__}, not a Sam')
        if self.checkpoint is not None:
            # In training mode first: networks may derive values from their weights in eval().
            load_weights(sam.train(), self._located()[0], f'built by {self.builder}', choices=())
        return sam

    def _builder_function(self) -> Callable[..., nn.Module]:
        if isinstance(self.builder, str):
            return import_from(self.builder, 'builder')
        assert self.builder is not None
        return self.builder


def _import_segment_anything() -> Any:
    try:
        import segment_anything
    except ImportError as error:
        raise ImportError(
            "SAMRegions needs the segment_anything package: pip install 'mmsamdistill[sam]'. "
            'LearnedEdgeRegions, SuperpixelRegions and CachedRegions work without it.'
        ) from error
    return segment_anything
