"""Does a restored image help whoever looks at it next? IoU of a frozen segmentation network."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmagic.registry import METRICS, MODELS
from mmengine.device import get_device
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from mmsamdistill.evaluation.iou import confusion_matrix, iou_per_class, mean_iou
from mmsamdistill.evaluation.label_maps import (
    IGNORED,
    LabelSet,
    find_label_map,
    get_label_set,
    read_label_map,
)
from mmsamdistill.evaluation.per_image import named_rows
from mmsamdistill.evaluation.protocols import Protocol
from mmsamdistill.evaluation.report import to_markdown
from mmsamdistill.evaluation.restoration_metric import ProtocolMetric, sample_image
from mmsamdistill.evaluation.segmenters import Segmenter
from mmsamdistill.images.finding import sample_path

_IMAGES = ('restored', 'degraded', 'clean')
_NAMES = {'restored': 'mIoU', 'degraded': 'mIoU_degraded', 'clean': 'mIoU_clean'}

Counts = dict[str, np.ndarray]


@METRICS.register_module()
class SegmentationMetric(ProtocolMetric):
    """Mean intersection over union, in percent, of a frozen network on the restored images.

    The same network also segments the degraded and the clean images, between which restoration
    can do something for it. In a config::

        test_evaluator = [dict(
            type='SegmentationMetric', prefix='Cityscapes', label_root='data/cityscapes/gtFine/val',
            segmenter=dict(type='TorchvisionSegmenter', name='deeplabv3_resnet50', weights=PATH))]

    Images ``(C, H, W)`` of one or three channels are rounded to 8 bits. Class scores are upsampled
    to the label map's size (bilinear, ``align_corners=False``), then the largest wins. Pixels of a
    whole data set are counted together, as Cityscapes' evaluation does; classes that do not occur
    are left out of the mean. After :meth:`evaluate`, ``per_class`` has the IoU of each class, and
    ``per_image`` the mean over the classes of each image.

    Args:
        segmenter: The network, or its configuration: ``TorchvisionSegmenter``,
            ``TransformersSegmenter``, ``RegisteredSegmenter``; built before the first image.
        label_root: Folder of the label maps, see
            :func:`~mmsamdistill.evaluation.label_maps.find_label_map`. Default: None, each sample
            has a ``label_path`` (``PackInputs`` with ``meta_keys=['label_path']``).
        labels: What label maps and the network's classes mean, see
            :func:`~mmsamdistill.evaluation.label_maps.get_label_set`. Default: 'cityscapes'.
        suffix: What the names of images and of label maps end with. Default: Cityscapes' names.
        images: Which to segment, of 'restored', 'degraded' and 'clean'. Default: all.
        options: ``prefix``, ``channel_order`` and ``collect_device``, see
            :class:`RestorationMetric`.

    Raises:
        KeyError: If there is no such label set.
        ValueError: If ``images`` is empty or has another name.

    Source: after Zhang et al., CVPR 2024; details are ours, the IoU is Cityscapes'.
    """

    def __init__(
        self,
        segmenter: Mapping[str, Any] | Segmenter,
        label_root: str | None = None,
        labels: str | LabelSet | Mapping[str, Any] = 'cityscapes',
        suffix: Sequence[str] = ('_leftImg8bit', '_gtFine_labelIds.png'),
        images: Sequence[str] = _IMAGES,
        **options: Any,
    ) -> None:
        self.labels = get_label_set(labels)
        super().__init__(_protocol(segmenter, self.labels), **options)
        self.judged = (images,) if isinstance(images, str) else tuple(images)
        if not self.judged or not set(self.judged) <= set(_IMAGES):
            raise ValueError(f'images={images!r} must be some of {_IMAGES}')
        self.label_root = label_root
        self.suffix = (suffix[0], suffix[1])
        self.per_class: dict[str, dict[str, float]] = {}
        self.per_image: list[dict[str, str | float]] = []
        self._given = segmenter
        self._segmenter: Segmenter | None = None

    @property
    def segmenter(self) -> Segmenter:
        """The network, built at first use, on MMEngine's device."""
        if self._segmenter is None:
            given = self._given
            built = MODELS.build(dict(given)) if isinstance(given, Mapping) else given
            self._segmenter = built.to(get_device())
        return self._segmenter

    def prepare(self, module: nn.Module, dataloader: DataLoader) -> None:
        """Build the network and find all label maps, before anything is tested."""
        super().prepare(module, dataloader)
        self.segmenter  # noqa: B018  (built now, so that missing weights are told now)
        if hasattr(dataloader.dataset, 'get_data_info'):
            for index in range(len(dataloader.dataset)):
                self._label_path(dataloader.dataset.get_data_info(index))

    @torch.no_grad()
    def process_sample(self, sample: Mapping[str, Any]) -> tuple[str, Counts]:
        """Path of a sample, and for each of its images the counts of true and predicted classes."""
        truth = read_label_map(self._label_path(sample), self.labels)
        counts = {}
        for name in self.judged:
            classes = self._segment(sample_image(sample, name), tuple(truth.shape))
            counted = confusion_matrix(classes.cpu(), truth, len(self.labels.classes), IGNORED)
            counts[name] = counted.numpy()
        return sample_path(sample), counts

    def compute_metrics(self, results: list[tuple[str, Counts]]) -> dict[str, float]:
        """Add the counts up: the mean IoU in percent of each kind of image."""
        # 1. Counts of the whole set, and each image's own IoU.
        paths, counts = zip(*results, strict=True)
        totals = {n: torch.from_numpy(np.sum([c[n] for c in counts], axis=0)) for n in self.judged}
        rows = [
            {_NAMES[n]: 100 * mean_iou(torch.from_numpy(c[n])) for n in self.judged} for c in counts
        ]
        self.per_image = named_rows(paths, rows)
        # 2. The IoU of each class, for the log and for whoever asks.
        each = {name: (100 * iou_per_class(total)).tolist() for name, total in totals.items()}
        self.per_class = {
            label: {name: each[name][index] for name in self.judged}
            for index, label in enumerate(self.labels.classes)
        }
        table = [{'class': label, **values} for label, values in self.per_class.items()]
        print_log(f'IoU in percent:\n{to_markdown(table)}', 'current')
        return {_NAMES[name]: 100 * mean_iou(total) for name, total in totals.items()}

    def _segment(self, image: Tensor, size: tuple[int, ...]) -> Tensor:
        if image.dim() != 3:
            raise ValueError(f'SegmentationMetric takes images (C, H, W), got {tuple(image.shape)}')
        # As if read from a file: rounded, in RGB, in 0..1; grey three times.
        device = self.segmenter.mean.device
        pixels = self.protocol.prepare(image, self.channel_order).float().to(device) / 255
        scores = self.segmenter(pixels.expand(3, -1, -1)[None])
        if scores.shape[1] != len(self.labels.classes):
            raise ValueError(
                f'the network has {scores.shape[1]} classes, label set {self.labels.name!r} has '
                f'{len(self.labels.classes)}; give the weights or the labels of the other'
            )
        return F.interpolate(scores, size, mode='bilinear', align_corners=False)[0].argmax(0)

    def _label_path(self, sample: Mapping[str, Any]) -> str:
        if self.label_root is None:
            if not sample.get('label_path'):
                raise KeyError(
                    "SegmentationMetric needs label_root, or samples with 'label_path', got "
                    f'{sorted(sample)}'
                )
            return str(sample['label_path'])
        path = sample_path(sample)
        if not path:
            raise KeyError("a sample needs 'gt_path' or 'img_path' to find its label map by")
        return str(find_label_map(path, self.label_root, self.suffix))


def _protocol(segmenter: Mapping[str, Any] | Segmenter, labels: LabelSet) -> Protocol:
    if isinstance(segmenter, Mapping):
        name = segmenter.get('name') or segmenter.get('type')
        settings = ', '.join(f'{key}={value}' for key, value in segmenter.items())
    else:
        name = settings = type(segmenter.network).__name__
    label = f'{name} on {labels.name}, 8 bit'
    return Protocol('segmentation', label, f'frozen network: {settings}; labels: {labels.source}')
