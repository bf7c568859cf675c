"""The parts of the method in a LightningModule (pip install lightning).

    python examples/lightning_module.py

As in `plain_loop.py`; Lightning brings the loop, the devices and the checkpoints.
"""

from __future__ import annotations

from typing import Any

import torch
from plain_loop import Net, batches
from torch import Tensor, nn

from mmsamdistill.cascade import SPFHead
from mmsamdistill.losses import SPDLoss
from mmsamdistill.regions import RegionMap
from mmsamdistill.sources import SuperpixelRegions

try:
    import lightning
except ImportError as error:
    raise ImportError('this example needs Lightning: pip install lightning') from error


class Distilled(lightning.LightningModule):
    """A restorer that learns from a second one, which sees the regions."""

    def __init__(self, restorer: nn.Module, teacher: nn.Module, lr: float = 1e-3) -> None:
        super().__init__()
        self.restorer, self.teacher, self.lr = restorer, teacher, lr
        self.spf = SPFHead(channels=8, depth=1)
        self.regions_of = SuperpixelRegions('slic', n_segments=8)
        self.spd, self.pixel_loss = SPDLoss(), nn.L1Loss()

    def forward(self, degraded: Tensor) -> Tensor:
        """Restore: the student alone, as it is deployed."""
        return self.restorer(degraded)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Compute the loss of one batch of degraded and true images in 0..1."""
        degraded, truth = batch
        first = self.restorer(degraded)
        regions = RegionMap.from_labels(self.regions_of(first.detach().clamp(0, 1)))
        second = self.teacher(self.spf(first.detach(), regions))
        losses = {'student': self.pixel_loss(first, truth)}
        losses['teacher'] = self.pixel_loss(second, truth)
        losses['spd'] = self.spd(first, second.detach(), truth, self.pixel_loss)
        self.log_dict(losses)
        return torch.stack(list(losses.values())).sum()

    def configure_optimizers(self) -> Any:
        """Train everything at one rate."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


if __name__ == '__main__':
    trainer = lightning.Trainer(max_epochs=1, accelerator='cpu', logger=False)
    trainer.fit(Distilled(Net(), Net()), list(batches(20)))
