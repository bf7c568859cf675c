"""Regions from every Segment Anything that the library transformers has."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import nn

from mmsamdistill.arguments import check_flag
from mmsamdistill.sources.mask_generator import MaskGeneratorRegions
from mmsamdistill.sources.transformers_generator import TransformersMaskGenerator
from mmsamdistill.version import needs
from mmsamdistill.weights.library_weights import hash_weights, locate_transformers_model
from mmsamdistill.weights.reading import CheckpointError, reason_of


@MODELS.register_module()
class TransformersRegions(MaskGeneratorRegions):
    """Regions from any of transformers' mask generators, overlapping masks painted large to small.

    SAM, SAM-HQ, SAM 2 and 2.1, SAM 3's tracker, EdgeTAM: one class, told apart by the model's own
    configuration. Held like SAM in :class:`SAMRegions`: read at first use, frozen, in float32,
    never in a checkpoint. For SAM 1, :class:`SAMRegions` gives the same masks faster.

    Only safetensors are read, code that comes with a model is never run, and nothing is downloaded
    unless ``download`` says so.

    Args:
        checkpoint: A local folder with ``config.json``, ``preprocessor_config.json`` and
            ``model.safetensors`` (or its shards), or a model's name on the hub that is in its
            cache, such as ``'facebook/sam2.1-hiera-tiny'``.
        revision: Branch, tag or commit on the hub. Default: None, the main branch.
        download: Download from the hub what its cache lacks. Default: False.
        sha256: Expected SHA-256 of the weights or its beginning. Default: None.
        generator: Arguments of the mask generator, by the names that SAM's own has:
            ``points_per_side`` (32), ``points_per_batch`` (64), ``pred_iou_thresh`` (0.88),
            ``stability_score_thresh`` (0.95), ``stability_score_offset`` (1), ``mask_threshold``
            (0), ``box_nms_thresh`` (0.7), ``crop_n_layers`` (0), ``crop_overlap_ratio``
            (512 / 1500), ``crop_n_points_downscale_factor`` (1), and ``images_per_batch`` (1):
            images that the encoder sees together.

    Raises:
        ImportError: At first use, if transformers is not installed.
        FileNotFoundError: At first use, if the model is not there or has no safetensors.
        ValueError: At first use, if it is no mask generator, or has another hash.
        CheckpointError: At first use, if the files are damaged or do not fit the configuration.

    Example:
        >>> regions = TransformersRegions('facebook/sam2.1-hiera-tiny')
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        revision: str | None = None,
        download: bool = False,
        sha256: str | None = None,
        generator: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(None, checkpoint, sha256, generator, 'transformers')
        check_flag(download=download)
        self.revision = revision
        self.download = download

    def _describe_model(self) -> dict[str, Any]:
        folder, _ = self._located
        assert folder is not None
        return {
            'model_type': _read_config(folder).model_type,
            'revision': locate_transformers_model(folder)[1],
        }

    def _named_generator(self, name: str) -> Callable[..., Any] | str | None:
        return TransformersMaskGenerator

    @cached_property
    def _located(self) -> tuple[Path | None, str]:
        folder, _ = locate_transformers_model(self.checkpoint, self.revision, self.download)
        digest = hash_weights(folder)
        if self.sha256 and not digest.startswith(self.sha256.lower()):
            raise ValueError(
                f'the weights in {folder} have SHA-256 {digest}, expected {self.sha256}: they are '
                f'damaged or others'
            )
        return folder, digest

    def _build(self) -> nn.Module:
        folder, _ = self._located
        assert folder is not None
        config = _read_config(folder)
        from transformers import AutoImageProcessor, AutoModelForMaskGeneration

        safely = {'local_files_only': True, 'trust_remote_code': False}
        try:
            model, found = AutoModelForMaskGeneration.from_pretrained(
                folder, config=config, use_safetensors=True, output_loading_info=True, **safely
            )
            processor = AutoImageProcessor.from_pretrained(folder, **safely)
        except Exception as error:
            # A damaged file or a configuration that does not fit ends in any of many exceptions.
            raise CheckpointError(
                f'{folder} cannot be read as a {config.model_type}: {reason_of(error)}'
            ) from error
        # Of a video model only what looks at images is taken; but that must be complete.
        missing = sorted(str(each) for each in [*found['missing_keys'], *found['mismatched_keys']])
        if missing:
            raise CheckpointError(
                f'the weights in {folder} do not fit its config.json: {len(missing)} are missing '
                f'or of another shape, e.g. {", ".join(missing[:3])}'
            )
        model.image_processor = processor
        return model.to(torch.float32)


def _read_config(folder: Path) -> Any:
    with needs("TransformersRegions needs transformers: pip install 'mmsamdistill[transformers]'"):
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASK_GENERATION_MAPPING_NAMES
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise CheckpointError(f'{folder}/config.json cannot be read: {reason_of(error)}') from error
    if config.model_type not in MODEL_FOR_MASK_GENERATION_MAPPING_NAMES:
        raise ValueError(
            f'{folder} holds a {config.model_type!r}, which generates no masks; those that do: '
            f'{", ".join(MODEL_FOR_MASK_GENERATION_MAPPING_NAMES)}'
        )
    return config
