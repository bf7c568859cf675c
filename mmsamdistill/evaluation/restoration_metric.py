"""PSNR and SSIM by a named protocol, in MMagic's validation and test loops."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from mmagic.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmsamdistill.arguments import check_choice
from mmsamdistill.evaluation.per_image import named_rows
from mmsamdistill.evaluation.protocols import Protocol, check_metrics, get_protocol, measure
from mmsamdistill.images.finding import sample_path
from mmsamdistill.value_range import require_restorable, value_range


class ProtocolMetric(BaseMetric):
    """What the loops of MMagic and of MMEngine ask of a metric that looks at image after image.

    Each image leaves one entry in ``results``: that is what lets MMEngine drop the images by which
    a distributed sampler fills up its last batch. MMagic's own base class does the same; it is not
    used because importing it imports all of MMagic's models.
    """

    SAMPLER_MODE = 'normal'
    sample_model = 'orig'

    def __init__(
        self,
        protocol: str | Protocol | Mapping[str, Any],
        prefix: str | None = None,
        channel_order: str = 'bgr',
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device, prefix)
        check_choice(('rgb', 'bgr'), channel_order=channel_order)
        self.protocol = get_protocol(protocol)
        self.channel_order = channel_order
        self.size: int | None = None
        self.white: float | None = 255.0
        self._unknown = ''
        self.failures: dict[str, str] = {}

    def prepare(self, module: nn.Module, dataloader: DataLoader) -> None:
        """Take number and range of the images: MMagic's evaluator calls it before the first."""
        self.size = len(dataloader.dataset)
        preprocessor = getattr(module, 'data_preprocessor', None)
        if preprocessor is not None:
            self.white, self._unknown = _white(preprocessor)

    def images(self, sample: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Prediction and truth of a sample, scaled to 0..255 where white is another value."""
        prediction, truth = (sample_image(sample, name) for name in ('restored', 'clean'))
        largest = float(truth.max()) if truth.numel() else 0.0
        if self.white is None and largest <= 1:
            raise ValueError(f'{sample_path(sample) or "an image"}: {self._unknown}')
        # Without a normalisation only the images tell.
        self.white = self.white or 255.0
        if largest > self.white:
            raise ValueError(
                f'{sample_path(sample) or "an image"} has values up to {largest:g}, but '
                f'by mean and std of the data_preprocessor white is {self.white:g}: load images of '
                'that range, or set mean and std to theirs'
            )
        if self.white == 255:
            return prediction, truth
        return prediction * (255 / self.white), truth * (255 / self.white)

    def get_metric_sampler(
        self, model: nn.Module, dataloader: DataLoader, metrics: Sequence[BaseMetric]
    ) -> DataLoader:
        """Give MMagic's loops the batches to run: the data as they are."""
        return dataloader

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Measure the images of one batch."""
        for sample in data_samples:
            self.results.append(self.process_sample(sample))

    def process_sample(self, sample: Mapping[str, Any]) -> Any:
        """Measure one image: plain numbers for :meth:`compute_metrics`."""
        raise NotImplementedError

    def evaluate(self, size: int | None = None) -> dict[str, float]:
        """Combine what all processes have measured."""
        size = self.size if size is None else size
        if size is None:
            raise RuntimeError('the number of images is not known: call prepare(), or give size')
        metrics = super().evaluate(size)
        for name, reason in self.failures.items():
            print_log(f'{name}: {reason}', 'current', logging.WARNING)
        print_log(f'{", ".join(metrics)} measured by {self.protocol}', 'current')
        return metrics


def sample_image(sample: Mapping[str, Any], name: str) -> Tensor:
    """Take an image out of a data sample: the 'restored', the 'degraded' or the 'clean' one."""
    places = {
        'restored': (sample.get('output', {}), 'pred_img'),
        'degraded': (sample, 'input'),
        'clean': (sample, 'gt_img'),
    }
    holder, key = places[name]
    if key not in holder:
        there = [other for other, (place, entry) in places.items() if entry in place]
        raise KeyError(
            f'the sample has no {name} image, only {there}: {key!r} is missing; does the pipeline '
            'load the ground truth? SegmentationMetric can do without: set its images'
        )
    return holder[key]


def _white(preprocessor: nn.Module) -> tuple[float | None, str]:
    """Tell the largest value of an image, or why that cannot be told."""
    try:
        white = value_range(preprocessor)
    except ValueError as error:
        return None, str(error)
    require_restorable(white)
    return white, ''


class PerImageMetric(ProtocolMetric):
    """Means over images, of which each keeps its values, by name, in ``per_image``.

    An image that cannot be measured gets NaN, and so does the mean, which would otherwise be that
    of other images; ``failures`` has the reasons by path.
    """

    metrics: Sequence[str]

    def measure(self, name: str, prediction: Tensor, truth: Tensor) -> float:
        """Compute one metric of one image in 0..255; a ValueError says why that cannot be."""
        raise NotImplementedError

    def process_sample(self, sample: Mapping[str, Any]) -> tuple[str, dict[str, float], str]:
        """Path and metrics of one image, and what went wrong with it."""
        prediction, truth = self.images(sample)
        if not bool(torch.isfinite(prediction).all()):
            values = dict.fromkeys(self.metrics, math.nan)
            return sample_path(sample), values, 'the restored image has values that are no numbers'
        values, reasons = {}, []
        for name in self.metrics:
            try:
                values[name] = self.measure(name, prediction, truth)
            except ValueError as error:
                values[name] = math.nan
                reasons.append(f'{name}: {error}')
        return sample_path(sample), values, '; '.join(reasons)

    def compute_metrics(self, results: list[tuple[str, dict[str, float], str]]) -> dict[str, float]:
        """Average over images."""
        paths, values, reasons = zip(*results, strict=True)
        self.per_image = named_rows(paths, values)
        self.failures = {
            path or f'image {index}': reason
            for index, (path, reason) in enumerate(zip(paths, reasons, strict=True))
            if reason
        }
        return {name: sum(each[name] for each in values) / len(values) for name in self.metrics}


@METRICS.register_module()
class RestorationMetric(PerImageMetric):
    """PSNR and SSIM of a data set, by the protocol of the paper to compare with.

    In a config::

        test_evaluator = [
            dict(type='RestorationMetric', protocol='rain_y_matlab', prefix='Test100')]

    Values are averaged over images ``(C, H, W)``, of videos ``(T, C, H, W)`` over frames first; one
    perfectly restored image makes the mean PSNR infinite, as in the papers' code. After
    :meth:`evaluate`, ``per_image`` keeps each image's name and values, for paired comparisons.

    Args:
        protocol: How to measure: a name such as 'gopro_rgb' (see
            :data:`~mmsamdistill.evaluation.protocols.PROTOCOLS`), or ``dict(base=NAME, ...)``.
        metrics: Any of 'PSNR', 'SSIM'. Default: both.
        prefix: Name of the data set, put before the names of the metrics. Default: None.
        channel_order: Order of the channels of predictions and ground truth. Default: 'bgr', to
            which MMagic converts both, whatever the pipeline loads.
        collect_device: 'cpu' or 'gpu', see MMEngine. Default: 'cpu'.

    Raises:
        KeyError: If there is no such protocol or metric.
        ValueError: If no metric is asked for, or for another order of channels.
    """

    def __init__(
        self,
        protocol: str | Protocol | Mapping[str, Any],
        metrics: Sequence[str] = ('PSNR', 'SSIM'),
        prefix: str | None = None,
        channel_order: str = 'bgr',
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(protocol, prefix, channel_order, collect_device)
        self.metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        if not self.metrics:
            raise ValueError('metrics is empty; choose PSNR, SSIM or both')
        check_metrics(self.metrics)
        self.per_image: list[dict[str, str | float]] = []

    def measure(self, name: str, prediction: Tensor, truth: Tensor) -> float:
        """PSNR or SSIM of one image; of a video, the mean over its frames."""
        values = measure(prediction, truth, self.protocol, (name,), self.channel_order)
        return values[name].mean().item()


def protocol_labels(metrics: Iterable[BaseMetric], fallback: str = 'test') -> dict[str, str]:
    """Name the protocols behind the numbers of a test run, for its table.

    Args:
        metrics: The metrics of all evaluators.
        fallback: Name of the data set whose metrics have no prefix.

    Returns:
        By prefix, the protocol with its label; several are joined by semicolons. Metrics of others
        are named with their package, such as 'PSNR of mmagic'.

    Example:
        >>> protocol_labels([RestorationMetric('gopro_rgb', prefix='GoPro')])
        {'GoPro': 'gopro_rgb: RGB, 8 bit, SSIM of MATLAB'}
    """
    labels: dict[str, dict[str, None]] = {}
    for metric in metrics:
        package = type(metric).__module__.partition('.')[0]
        label = str(getattr(metric, 'protocol', f'{type(metric).__name__} of {package}'))
        labels.setdefault(metric.prefix or fallback, {})[label] = None
    return {prefix: '; '.join(each) for prefix, each in labels.items()}
