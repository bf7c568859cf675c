"""Regions from Segment Anything and Segment Anything 2, by their authors' packages."""

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import nn

from mmsamdistill.arguments import check_choice
from mmsamdistill.sources.mask_generator import (
    MaskGeneratorRegions,
    import_from,
    jsonable,
    surviving_empty_crops,
)
from mmsamdistill.version import needs
from mmsamdistill.weights.sam_weights import OFFICIAL_FILES, OFFICIAL_SAM2_FILES, load_weights

_FAST = 'mmsamdistill.fast_sam.FastSamMaskGenerator'
# Configurations inside of the package, by the model's name.
CONFIGS: dict[str, str] = {
    f'{version}_hiera_{size}': f'configs/{version}/{version}_hiera_{letter}.yaml'
    for version in ('sam2', 'sam2.1')
    for size, letter in (('tiny', 't'), ('small', 's'), ('base_plus', 'b+'), ('large', 'l'))
}


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

    official = OFFICIAL_FILES

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
        check_choice(OFFICIAL_FILES, model_type=model_type)
        if sam is not None and builder is not None:
            raise ValueError('give either sam or builder, not both')
        if builder_args and builder is None:
            raise ValueError('builder_args are the arguments of a builder; name it in builder')
        self.model_type = model_type if sam is None and builder is None else 'custom'
        self.builder = builder
        self.builder_args = dict(builder_args or {})

    def _describe_model(self) -> dict[str, Any]:
        if self.builder is None:
            return super()._describe_model()
        builder = self._builder_function()
        name = getattr(builder, '__qualname__', type(builder).__qualname__)
        return {
            **super()._describe_model(),
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

    def _build(self) -> nn.Module:
        if self.builder is None:
            sam = _import_segment_anything().sam_model_registry[self.model_type](checkpoint=None)
            load_weights(sam, self._located[0], self.model_type)
            return sam
        sam = self._builder_function()(**self.builder_args)
        if not isinstance(sam, nn.Module):
            raise TypeError(f'builder {self.builder!r} returned {type(sam).__name__}, not a Sam')
        if self.checkpoint is not None:
            # In training mode first: networks may derive values from their weights in eval().
            load_weights(sam.train(), self._located[0], f'built by {self.builder}', choices=())
        return sam

    def _builder_function(self) -> Callable[..., nn.Module]:
        if isinstance(self.builder, str):
            return import_from(self.builder, 'builder')
        assert self.builder is not None
        return self.builder


def _import_segment_anything() -> Any:
    with needs(
        "SAMRegions needs the segment_anything package: pip install 'mmsamdistill[sam]'. "
        'LearnedEdgeRegions, SuperpixelRegions and CachedRegions work without it.'
    ):
        import segment_anything
    return segment_anything


@MODELS.register_module()
class SAM2Regions(MaskGeneratorRegions):
    """Regions from SAM 2's automatic mask generation, overlapping masks painted large to small.

    Held like SAM in :class:`SAMRegions`: built on first use, frozen, in float32, never in a
    checkpoint. Needs the authors' package, which is not on the Python index (what is there under
    that name is somebody else's upload): ``pip install
    git+https://github.com/facebookresearch/sam2``. :class:`TransformersRegions` reads the same
    models without it, and is what a new project should take.

    Tried with random weights in the 2.1 tiny model's real classes; the published weights were not
    at hand, their sizes and hashes are known from others' records (of SAM 2.0 the hashes alone).

    Args:
        model_type: One of ``sam2_hiera_{tiny,small,base_plus,large}`` and
            ``sam2.1_hiera_{tiny,small,base_plus,large}``. Default: ``'sam2.1_hiera_large'``.
        checkpoint: Path or URL of the weights: ``.pt`` as published, with the state dict under
            ``'model'`` or bare, or ``.safetensors``. Default: None, the official file of the model
            type, downloaded once.
        sha256: Expected SHA-256 of the checkpoint or its beginning. Default: None; files with an
            official name are always checked.
        sam: A SAM 2 model to use as it is, instead of the three above; frozen in place.
        generator: Arguments of the mask generator: those of :class:`SAMRegions`, and
            ``mask_threshold``, ``use_m2m``, ``multimask_output``. Their defaults are the
            generator's own; ``pred_iou_thresh`` is 0.8, where SAM's is 0.88. SAM 2 cleans masks by
            ``min_mask_region_area`` in a compiled extension on CUDA only, and is refused elsewhere.
        generator_type: ``'reference'`` (default,
            ``sam2.automatic_mask_generator.SAM2AutomaticMaskGenerator``), a class, or its import
            path; see :class:`SAMRegions`.

    Raises:
        TypeError: If ``sam`` is not a module, or, at first use, if the generator does not know an
            argument.
        ValueError: If the model type is unknown, or ``sam`` is given together with weights.

    Example:
        >>> regions = SAM2Regions('sam2.1_hiera_tiny', generator=dict(points_per_side=16))

    Source: Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024.
    """

    official = OFFICIAL_SAM2_FILES

    def __init__(
        self,
        model_type: str = 'sam2.1_hiera_large',
        checkpoint: str | Path | None = None,
        *,
        sha256: str | None = None,
        sam: nn.Module | None = None,
        generator: dict[str, Any] | None = None,
        generator_type: str | Callable[..., Any] = 'reference',
    ) -> None:
        super().__init__(sam, checkpoint, sha256, generator, generator_type)
        check_choice(CONFIGS, model_type=model_type)
        self.model_type = model_type if sam is None else 'custom'

    def _named_generator(self, name: str) -> Callable[..., Any] | str | None:
        if name != 'reference':
            return None
        original = _import_sam2('automatic_mask_generator').SAM2AutomaticMaskGenerator
        # It takes any keyword and ignores those that it does not know, typing errors included.
        known = list(inspect.signature(original).parameters.values())[1:]
        names = [each.name for each in known if each.kind is not each.VAR_KEYWORD]
        unknown = sorted(self.generator.keys() - set(names))
        if unknown:
            raise TypeError(f'SAM 2 has no generator argument {", ".join(unknown)}; choose {names}')
        return surviving_empty_crops(original, original.__module__)

    def _generator_on(self, device: torch.device) -> Any:
        if self.generator_type == 'reference' and self.generator.get('min_mask_region_area', 0) > 0:
            _check_extension(device)
        return super()._generator_on(device)

    def _build(self) -> nn.Module:
        build = _import_sam2('build_sam').build_sam2
        # Its post-processing replaces unstable single masks; the mask generator asks for several.
        network = build(
            CONFIGS[self.model_type], ckpt_path=None, device='cpu', apply_postprocessing=False
        )
        path, _ = self._located
        load_weights(network, path, self.model_type, choices=CONFIGS)
        return network


def _import_sam2(module: str) -> Any:
    with needs(
        "SAM2Regions needs its authors' package: pip install "
        'git+https://github.com/facebookresearch/sam2 (with SAM2_BUILD_CUDA=0 in the environment '
        'where there is no CUDA compiler); the sam2 of the Python index is not theirs. '
        'TransformersRegions reads the same models without it.'
    ):
        import sam2
    return import_module(f'{sam2.__name__}.{module}')


def _check_extension(device: torch.device) -> None:
    if device.type != 'cuda' or find_spec('sam2._C') is None:
        raise ValueError(
            'min_mask_region_area: SAM 2 removes small regions in its compiled extension on CUDA, '
            f'and skips that on {device.type} or without the extension; set it to 0, or install '
            'sam2 with SAM2_BUILD_CUDA=1'
        )
