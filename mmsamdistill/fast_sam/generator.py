"""SAM's automatic mask generator: the same masks as the reference, in a fraction of the time.

The steps are in files of their own and in this order: ``encode`` (crops, points, embeddings),
``share`` (what all prompts have in common), ``decode`` (prompts to tokens and predicted quality),
``upscale`` (what survives, to logits), ``masks`` (logits to masks and boxes), ``results``
(duplicates, records, label map).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmsamdistill.fast_sam.decode import decode_prompts, embed_points
from mmsamdistill.fast_sam.encode import (
    Crop,
    check_image,
    check_model,
    check_options,
    crops_of_image,
    encode_images,
    points_in_crop,
    prepare_images,
)
from mmsamdistill.fast_sam.masks import MaskRules, MaskSet, find_masks, no_masks
from mmsamdistill.fast_sam.results import (
    merge_crops,
    paint_labels,
    to_records,
    without_duplicates,
    without_small_regions,
)
from mmsamdistill.fast_sam.share import SharedImage, share_image
from mmsamdistill.fast_sam.upscale import MaskResizer, mask_logits


@dataclass(eq=False, repr=False)
class FastSamMaskGenerator:
    """Find all masks in an image with SAM, a drop-in for ``SamAutomaticMaskGenerator``.

    With the default ``dtype`` and ``compile`` it returns the very masks of the reference: same
    number and order, scores within 1e-5, and a pixel differs only where the logit is within 1e-4
    of the cutoff. It is faster because poor masks are dropped before they are made, nothing is
    computed twice for prompts of the same image, and nothing large leaves the cache. Unlike the
    reference it returns an empty list where no mask survives.

    Args:
        model: SAM: a ``segment_anything.modeling.Sam``, or one built of the same prompt encoder
            and mask decoder around another image encoder.
        points_per_side: Points along one side of the grid; None with ``point_grids``. Default: 32.
        points_per_batch: Most prompts decoded at once. Default: 64.
        pred_iou_thresh: Least predicted IoU, in [0, 1]. Default: 0.88.
        stability_score_thresh: Least stability score, in [0, 1]. Default: 0.95.
        stability_score_offset: Shift of the cutoff for the stability score. Default: 1.0.
        box_nms_thresh: IoU of boxes from which on masks of a crop are duplicates. Default: 0.7.
        crop_n_layers: How many times the image is subdivided into crops. Default: 0.
        crop_nms_thresh: As ``box_nms_thresh``, between crops. Default: 0.7.
        crop_overlap_ratio: Overlap of crops in parts of the image's shorter side.
            Default: 512 / 1500.
        crop_n_points_downscale_factor: Points per side are divided by it in each further layer.
            Default: 1.
        point_grids: Grids of points for each layer, ``(P, 2)`` in [0, 1], instead of
            ``points_per_side``.
        min_mask_region_area: Holes and islands smaller than this, in pixels, are removed; needs
            OpenCV. Default: 0.
        output_mode: ``binary_mask``, ``uncompressed_rle`` or ``coco_rle``, the last of which needs
            pycocotools. Default: ``binary_mask``.
        dtype: ``torch.bfloat16`` or ``torch.float16`` compute the networks in that type: faster on
            a GPU, and no longer exact. Default: ``torch.float32``.
        compile: True compiles the networks with ``torch.compile``; a string names its backend.
            Results may differ in rounding. Default: False.
        images_per_batch: How many images or crops pass the encoder together. Default: 1.

    Raises:
        TypeError: If ``model`` lacks a part that the generator computes with.
        ValueError: If an option is out of its range.

    Example:
        >>> from segment_anything import modeling as parts
        >>> encoder = parts.ImageEncoderViT(32, 16, 3, 8, 1, 1, out_chans=8)
        >>> prompts = parts.PromptEncoder(8, (2, 2), (32, 32), 4)
        >>> transformer = parts.TwoWayTransformer(1, 8, 1, 8)
        >>> decoder = parts.MaskDecoder(transformer_dim=8, transformer=transformer)
        >>> sam = parts.Sam(encoder, prompts, decoder)
        >>> generator = FastSamMaskGenerator(sam, points_per_side=2, pred_iou_thresh=1.0)
        >>> image = np.zeros((8, 6, 3), np.uint8)
        >>> generator.label_map(image).shape, generator.generate(image)
        ((8, 6), [])

    Source: what it computes is defined by ``segment_anything``.
    """

    model: nn.Module
    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: list[np.ndarray] | None = None
    min_mask_region_area: int = 0
    output_mode: str = 'binary_mask'
    dtype: torch.dtype = torch.float32
    compile: bool | str = False
    images_per_batch: int = 1
    # What caches made before the module moved say made them.
    recorded_name: ClassVar[str] = 'mmsamdistill.regions.fast_sam.FastSamMaskGenerator'

    def __post_init__(self) -> None:
        from segment_anything.utils.amg import build_all_layer_point_grids

        check_model(self.model)
        check_options(self)
        if self.points_per_side is not None:
            self.point_grids = build_all_layer_point_grids(
                self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor
            )
        self.rules = MaskRules(
            score_threshold=self.pred_iou_thresh,
            stability_threshold=self.stability_score_thresh,
            stability_offset=self.stability_score_offset,
            mask_threshold=self.model.mask_threshold,
        )
        self._encode = _compiled(encode_images, self.compile)
        self._decode = _compiled(decode_prompts, self.compile)

    def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Find the masks of an image.

        Args:
            image: In the channel order RGB.

        Shape:
            - image: ``(H, W, 3)`` uint8

        Returns:
            One record for each mask, as ``SamAutomaticMaskGenerator.generate`` documents them.

        Raises:
            TypeError: If the image is not a uint8 array.
            ValueError: If its shape is another.
        """
        return self.generate_batch([image])[0]

    def generate_batch(self, images: Sequence[np.ndarray]) -> list[list[dict[str, Any]]]:
        """Records of several images of any sizes, see :meth:`generate`."""
        return [
            to_records(masks, image.shape[1], self.output_mode)
            for image, masks in zip(images, self.find(images), strict=True)
        ]

    def label_map(self, image: np.ndarray) -> np.ndarray:
        """Paint the masks of an image over each other, large ones first.

        ``(H, W)`` int32: ``m + 1`` where record ``m`` of :meth:`generate` is on top, 0 elsewhere.
        """
        return self.label_maps([image])[0]

    def label_maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Label maps of several images of any sizes, see :meth:`label_map`."""
        return [
            paint_labels(masks, image.shape[1]).cpu().numpy()
            for image, masks in zip(images, self.find(images), strict=True)
        ]

    def find(self, images: Sequence[np.ndarray]) -> Iterator[MaskSet]:
        """The masks of one image after the other, on the model's device, each when asked for."""
        for image in images:
            check_image(image)
        crops = [
            crops_of_image(image.shape[:2], self.crop_n_layers, self.crop_overlap_ratio)
            for image in images
        ]
        found = self._find_in_crops(images, crops)
        for image, own in zip(images, crops, strict=True):
            yield self._join_crops([next(found) for _ in own], image.shape[1])

    def _find_in_crops(
        self, images: Sequence[np.ndarray], crops: list[list[Crop]]
    ) -> Iterator[MaskSet]:
        """The masks of each crop of each image; crops of several images are encoded together."""
        jobs = [(image, crop) for image, own in zip(images, crops, strict=True) for crop in own]
        for start in range(0, len(jobs), self.images_per_batch):
            batch = jobs[start : start + self.images_per_batch]
            embeddings, sizes = self._embed([crop.cut(image) for image, crop in batch])
            for (_, crop), embedding, size in zip(batch, embeddings, sizes, strict=True):
                yield self._find_in_crop(crop, embedding, size)

    @torch.no_grad()
    def _embed(self, images: list[np.ndarray]) -> tuple[Tensor, list[tuple[int, int]]]:
        if self.model.image_format != 'RGB':
            images = [image[..., ::-1] for image in images]
        batch, sizes = prepare_images(self.model, images)
        with self._autocast():
            return self._encode(self.model.image_encoder, batch).float(), sizes

    @torch.no_grad()
    def _find_in_crop(self, crop: Crop, embedding: Tensor, input_size: tuple[int, int]) -> MaskSet:
        # 1. What all prompts share is computed once.
        image = share_image(self.model, embedding)
        resize = MaskResizer(
            grid=tuple(embedding.shape[-2:]),
            encoder_size=self.model.image_encoder.img_size,
            input_size=input_size,
            size=crop.size,
            device=embedding.device,
        )
        # 2. Of each batch of prompts, make and keep the good masks alone.
        found = [no_masks(crop.image_size, embedding.device)]
        all_points = torch.from_numpy(points_in_crop(crop, self.point_grids)).to(embedding.device)
        scale = all_points.new_tensor(input_size[::-1]) / all_points.new_tensor(crop.size[::-1])
        for points in all_points.split(self.points_per_batch):
            scores, which, logits = self._decode_batch(image, points, scale, resize.grid)
            if len(logits) > 0:
                found.append(find_masks(logits, resize, self.rules, crop, scores, points[which]))
        # 3. Neighbouring prompts find the same things.
        masks = MaskSet.join(found)
        return without_duplicates(masks, masks.scores, self.box_nms_thresh)

    def _decode_batch(
        self, image: SharedImage, points: Tensor, scale: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predicted IoU, prompt and low-resolution logits of the masks worth making."""
        # 1. Prompts are given in pixels of the encoder's input.
        prompts = embed_points(self.model, points * scale)
        # 2. The quality is known before any mask: poor ones are never made.
        decoded = self._decode(self.model.mask_decoder, image, prompts)
        keep = self.rules.good_scores(decoded.scores)
        with self._autocast():
            logits = mask_logits(self.model.mask_decoder, image, decoded, keep, grid)
        return decoded.scores[keep], keep.nonzero()[:, 0], logits

    def _join_crops(self, crops: list[MaskSet], width: int) -> MaskSet:
        masks = merge_crops(crops, self.crop_nms_thresh)
        if self.min_mask_region_area <= 0:
            return masks
        threshold = max(self.box_nms_thresh, self.crop_nms_thresh)
        return without_small_regions(masks, width, self.min_mask_region_area, threshold)

    def _autocast(self) -> AbstractContextManager:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self.dtype)


def _compiled(function: Any, how: bool | str) -> Any:
    if how is False:
        return function
    return torch.compile(function, backend='inductor' if how is True else how, dynamic=False)
