"""The parts of the method in a plain PyTorch loop: no config, no Runner.

A small network learns to remove noise from random flat quarters, taught by a second one that sees
the regions. Replace `batches` by your data, `Net` by your restorer and `SuperpixelRegions` by
`SAMRegions(checkpoint=...)`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmsamdistill.cascade import SPFHead, VGGAnalyzer
from mmsamdistill.losses import SGRLoss, SPDLoss
from mmsamdistill.regions import RegionMap
from mmsamdistill.sources import SuperpixelRegions


class Net(nn.Sequential):
    """A restorer: anything that maps (N, 3, H, W) to the same."""

    def __init__(self, channels: int = 16) -> None:
        layers = [nn.Conv2d(3, channels, 3, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(channels, 3, 3, padding=1))


def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give degraded and true images in 0..1."""
    for _ in range(count):
        truth = torch.rand(2, 3, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
        yield (truth + 0.1 * torch.randn_like(truth)).clamp(0, 1), truth


def train(steps: int = 20) -> tuple[nn.Module, list[float]]:
    """Train; gives the student, which is what is deployed, and the losses."""
    student, teacher, spf = Net(), Net(), SPFHead(channels=8, depth=1)
    regions_of = SuperpixelRegions('slic', n_segments=8)
    analyzer = VGGAnalyzer(weights='random', layers=('relu1_2',))  # 'imagenet' where it can be had
    spd, sgr, pixel_loss = SPDLoss(), SGRLoss(), nn.L1Loss()
    trained = nn.ModuleList([student, teacher, spf])
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3)
    losses = []
    for degraded, truth in batches(steps):
        first = student(degraded)
        regions = RegionMap.from_labels(regions_of(first.detach().clamp(0, 1)))
        second = teacher(spf(first.detach(), regions))  # the teacher sees the regions
        features = [analyzer(image) for image in (first, second.detach())]
        loss = pixel_loss(first, truth) + pixel_loss(second, truth)
        loss = loss + spd(first, second.detach(), truth, pixel_loss) + sgr(*features, regions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return student, losses


if __name__ == '__main__':
    print('loss:', ' '.join(f'{loss:.3f}' for loss in train()[1]))
