"""Automatic mask generation with transformers' models, several images at a time."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmsamdistill.arguments import check_number
from mmsamdistill.sources.mask_generator import paint_records

# By the names that the library's own filter has for them.
_THRESHOLDS = (
    'pred_iou_thresh', 'stability_score_thresh', 'mask_threshold', 'stability_score_offset',
)  # fmt: skip


@dataclass(eq=False, repr=False)
class TransformersMaskGenerator:
    """A grid of point prompts on an image and its crops, filtered as SAM's own generator does."""

    # In place of the library's pipeline, which encodes one image at a time, and scales the points
    # of an image that is not square as SAM 1 does: SAM 2 and its successors, which stretch images
    # to a square, would never be asked about a part of the image.

    model: nn.Module
    _: KW_ONLY
    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    images_per_batch: int = 1

    def __post_init__(self) -> None:
        check_number(0, crop_n_layers=self.crop_n_layers)
        for name in ('points_per_side', 'points_per_batch', 'images_per_batch'):
            check_number(1, **{name: getattr(self, name)})
        self.processor = self.model.image_processor
        self.thresholds = {name: getattr(self, name) for name in _THRESHOLDS}
        # Of the whole image, and of each layer of crops.
        self.grids = [
            _grid(max(1, int(self.points_per_side / self.crop_n_points_downscale_factor**layer)))
            for layer in range(self.crop_n_layers + 1)
        ]

    def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Records of the masks of an ``(H, W, 3)`` uint8 RGB array, as SAM's generator gives."""
        return self._generate([image])[0]

    def label_maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Masks of each image, painted large to small."""
        return [
            paint_records(records, image.shape[:2])
            for image, records in zip(images, self._generate(images), strict=True)
        ]

    def _generate(self, images: Sequence[np.ndarray]) -> list[list[dict[str, Any]]]:
        # The images and their crops in one list, so that the encoder's batches are full.
        crops = []
        for index, image in enumerate(images):
            # Colours first: with them last, an image of three rows could be meant.
            whole = torch.from_numpy(image).permute(2, 0, 1)
            boxes, _, cut, _ = self.processor.generate_crop_boxes(
                whole, 1, self.crop_n_layers, self.crop_overlap_ratio, 1
            )
            for number, (box, pixels) in enumerate(zip(boxes, cut, strict=True)):
                crops.append((index, _layer_of(number), box, pixels))
        found: list[list[tuple]] = [[] for _ in images]
        for start in range(0, len(crops), self.images_per_batch):
            chunk = crops[start : start + self.images_per_batch]
            inputs, embeddings = self._encode([pixels for *_, pixels in chunk])
            for row, (index, layer, box, _) in enumerate(chunk):
                size = images[index].shape[:2]
                one = {name: _row(value, row) for name, value in embeddings.items()}
                found[index] += self._masks(one, _row(inputs, row), self.grids[layer], box, size)
        return [self._records(each) for each in found]

    def _encode(self, pixels: list[Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = self.processor(images=pixels, return_tensors='pt')
        device = next(self.model.parameters()).device
        embeddings = self.model.get_image_embeddings(inputs['pixel_values'].to(device))
        # SAM-HQ gives features of earlier layers as well.
        if isinstance(embeddings, tuple):
            names = ('image_embeddings', 'intermediate_embeddings')
            return inputs, dict(zip(names, embeddings, strict=True))
        return inputs, {'image_embeddings': embeddings}

    def _masks(
        self,
        embeddings: dict[str, Any],
        inputs: dict[str, Any],
        grid: Tensor,
        box: Tensor,
        size: tuple[int, int],
    ) -> list[tuple]:
        """Run-length masks, scores and boxes of one image or crop, for each batch of points."""
        # Where the crop lies in what the model sees: SAM 1 pads it to a square, the others stretch.
        seen = inputs.get('reshaped_input_sizes')
        height, width = inputs['pixel_values'].shape[-2:] if seen is None else seen[0].tolist()
        sizes = {} if seen is None else {'reshaped_input_sizes': seen.tolist()}
        points = grid * torch.tensor([width, height], dtype=torch.float32)
        device = next(self.model.parameters()).device
        results = []
        for some in points.split(self.points_per_batch):
            prompts = some.to(device)[None, :, None]
            labels = torch.ones_like(prompts[..., 0], dtype=torch.int64)
            output = self.model(input_points=prompts, input_labels=labels, **embeddings)
            masks = self.processor.post_process_masks(
                output['pred_masks'], inputs['original_sizes'].tolist(), binarize=False, **sizes
            )
            results.append(
                self.processor.filter_masks(
                    masks[0], output['iou_scores'][0], size, box, **self.thresholds
                )
            )
        return results

    def _records(self, results: list[tuple]) -> list[dict[str, Any]]:
        """The masks that are left when the best of each place has suppressed the others."""
        runs = [each for masks, *_ in results for each in masks]
        scores = torch.cat([scores for _, scores, _ in results])
        boxes = torch.cat([boxes.to(scores.device) for *_, boxes in results])
        masks, scores, _, boxes = self.processor.post_process_for_mask_generation(
            runs, scores, boxes, self.box_nms_thresh
        )
        records = []
        for mask, score, (left, top, right, bottom) in zip(
            masks, scores.tolist(), boxes.tolist(), strict=True
        ):
            segmentation = mask.numpy()
            records.append(
                {
                    'segmentation': segmentation,
                    'area': int(segmentation.sum()),
                    'bbox': [left, top, right - left, bottom - top],
                    'predicted_iou': score,
                }
            )
        return records


def _grid(side: int) -> Tensor:
    """Points in the middle of ``side`` x ``side`` cells of a unit square, as x and y."""
    middle = (torch.arange(side) + 0.5) / side
    return torch.cartesian_prod(middle, middle).flip(1)


def _layer_of(number: int) -> int:
    """Layer of the n-th crop: the image, then 4 crops, then 16, and so on."""
    layer, count = 0, 1
    while number >= count:
        number, layer, count = number - count, layer + 1, 4 * count
    return layer


def _row(value: Any, row: int) -> Any:
    """One image's part of tensors that hold several."""
    if isinstance(value, Tensor):
        return value[row : row + 1]
    if isinstance(value, list | tuple):
        return [_row(each, row) for each in value]
    return {name: _row(each, row) for name, each in value.items()}
