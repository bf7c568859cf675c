"""Where in the image does a restorer do well? PSNR by region size, and at region boundaries."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from mmagic.registry import METRICS
from torch import Tensor
from torch.nn import functional as F

from mmsamdistill.arguments import check_choice, check_number
from mmsamdistill.evaluation.protocols import Protocol
from mmsamdistill.evaluation.psnr import decibel, squared_error
from mmsamdistill.evaluation.restoration_metric import ProtocolMetric
from mmsamdistill.regions import RegionMap


def size_buckets(regions: RegionMap, edges: Sequence[float]) -> Tensor:
    """Sort pixels by the size of their region: ``(N, H, W)`` int64.

    -1 in no region, 0 in one that covers less than the first edge, a fraction of the image, and so
    on; a region exactly as large as an edge belongs to the bucket above.
    """
    area = regions.shape[1] * regions.shape[2]
    # Sizes are integers: the margin takes the rounding of `edge * area` away.
    limits = torch.tensor(
        [edge * area - 1e-6 for edge in edges], dtype=torch.float64, device=regions.device
    )
    bucket = torch.bucketize(regions.sizes().double(), limits)
    return torch.cat([bucket.new_full((1,), -1), bucket])[regions.ids]


def boundary_band(regions: RegionMap, radius: int) -> Tensor:
    """Pixels at most ``radius`` steps, diagonal ones too, from a boundary: ``(N, H, W)`` bool."""
    marked = regions.boundaries().float()
    return F.max_pool2d(marked, 2 * radius + 1, stride=1, padding=radius)[:, 0] > 0


@METRICS.register_module()
class RegionPSNR(ProtocolMetric):
    """PSNR over parts of the images, which shows where region priors help.

    Reported are ``PSNR_regions_A-B%`` for pixels in regions that cover ``A`` to ``B`` percent of
    their image, ``PSNR_no_region``, ``PSNR_boundary`` within ``radius`` of a region's boundary,
    ``PSNR_interior`` for all others, and ``PSNR_all``; what no pixel falls into is not reported.
    Test the plain and the distilled model with the same maps and compare part by part: a gain at
    boundaries alone says that edges got sharper, one in the interior of large regions that flat
    areas got cleaner. The data set has to give region maps (``RegionDataset``)::

        val_evaluator = [dict(type='RegionPSNR', protocol='gopro_rgb', prefix='GoPro')]

    Args:
        protocol: How pixels are compared: a name, or ``dict(base=NAME, ...)``, see
            :func:`~mmsamdistill.evaluation.protocols.get_protocol`.
        edges: Fractions of the image's area between the buckets, increasing, each in (0, 1).
            Default: 0.1 %, 1 % and 10 %.
        radius: Half width in pixels of the band around boundaries, at least 0. Default: 3.
        average: 'pixels': PSNR of the mean squared error over all pixels of the data set, finite
            unless all are perfect; 'images': mean of the PSNR of each image that has such pixels,
            as papers average PSNR, infinite if a part of one image is perfect. Default: 'pixels'.
        options: ``prefix``, ``channel_order`` and ``collect_device``, see
            :class:`RestorationMetric`.

    Raises:
        KeyError: If there is no such protocol.
        ValueError: If an argument is not one of those allowed.
    """

    def __init__(
        self,
        protocol: str | Protocol | Mapping[str, Any],
        edges: Sequence[float] = (0.001, 0.01, 0.1),
        radius: int = 3,
        average: str = 'pixels',
        **options: Any,
    ) -> None:
        super().__init__(protocol, **options)
        bounds = [0.0, *edges, 1.0]
        if any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f'edges must increase between 0 and 1, got {tuple(edges)}')
        check_number(0, radius=radius)
        check_choice(('pixels', 'images'), average=average)
        self.edges = tuple(edges)
        self.radius = radius
        self.average = average
        percent = [f'{100 * bound:g}' for bound in bounds]
        self._bucket_names = [f'PSNR_regions_{low}-{high}%' for low, high in pairwise(percent)]

    def process_sample(self, sample: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
        """Sum of squared errors and number of pixels, for each part of one image."""
        prediction, truth = self.images(sample)
        pair = (self.protocol.prepare(each, self.channel_order) for each in (prediction, truth))
        error = squared_error(*pair)
        regions = _region_map(sample, prediction)
        # On the whole map, so that what is cropped still counts for size and boundaries.
        bucket = self.protocol.crop(size_buckets(regions, self.edges))[0]
        near = self.protocol.crop(boundary_band(regions, self.radius))[0]
        masks = {name: bucket == index for index, name in enumerate(self._bucket_names)}
        masks |= {'PSNR_no_region': bucket == -1, 'PSNR_boundary': near, 'PSNR_interior': ~near}
        masks['PSNR_all'] = torch.ones_like(near)
        return {name: (error[mask].sum().item(), int(mask.sum())) for name, mask in masks.items()}

    def compute_metrics(self, results: list[dict[str, tuple[float, int]]]) -> dict[str, float]:
        """Turn the errors of all images into the PSNR of each part in dB."""
        metrics = {}
        for name in results[0]:
            parts = torch.tensor([r[name] for r in results if r[name][1]], dtype=torch.float64)
            if not len(parts):
                continue
            # The pixels of the whole set count as those of one image.
            if self.average == 'pixels':
                parts = parts.sum(0, keepdim=True)
            metrics[name] = decibel(parts[:, 0] / parts[:, 1], self.protocol.peak).mean().item()
        return metrics


def _region_map(sample: Mapping[str, Any], image: Tensor) -> RegionMap:
    if 'regions' not in sample:
        raise KeyError(
            "RegionPSNR needs region maps, but the samples have no 'regions': wrap the dataset in "
            "dict(type='RegionDataset', dataset=..., regions=FOLDER)"
        )
    if image.dim() != 3:
        raise ValueError(f'RegionPSNR measures images (C, H, W), got {tuple(image.shape)}')
    labels = torch.as_tensor(sample['regions'])
    if labels.numel() != image.shape[-2] * image.shape[-1] or labels.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f'a region map of {tuple(labels.shape)} does not fit an image of {tuple(image.shape)}'
        )
    return RegionMap.from_labels(labels.reshape(1, *image.shape[-2:]).to(image.device))
