"""The parts of the method in a model as BasicSR and its kin write them (NAFNet, HINet, Restormer).

Their trainers call `feed_data`, `optimize_parameters`, `test` and `save`; this class keeps those
names and needs nothing else of them. `save` writes `params`, which their test scripts read.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from plain_loop import Net, batches
from torch import Tensor, nn

from mmsamdistill.cascade import SPFHead
from mmsamdistill.losses import SPDLoss
from mmsamdistill.regions import RegionMap
from mmsamdistill.sources import SuperpixelRegions


class DistilledModel:
    """`net_g` is deployed; `net_t` sees the regions and teaches it."""

    def __init__(self, net_g: nn.Module, net_t: nn.Module, lr: float = 1e-3) -> None:
        self.net_g, self.net_t = net_g, net_t
        self.spf = SPFHead(channels=8, depth=1)
        self.regions_of = SuperpixelRegions('slic', n_segments=8)
        self.cri_pix, self.cri_spd = nn.L1Loss(), SPDLoss()
        trained = nn.ModuleList([net_g, net_t, self.spf])
        self.optimizer_g = torch.optim.AdamW(trained.parameters(), lr=lr)

    def feed_data(self, data: dict[str, Tensor]) -> None:
        """Take a batch; `lq` and `gt` are in 0..1."""
        self.lq, self.gt = data['lq'], data['gt']

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one step."""
        self.optimizer_g.zero_grad()
        self.output = self.net_g(self.lq)
        regions = RegionMap.from_labels(self.regions_of(self.output.detach().clamp(0, 1)))
        taught = self.net_t(self.spf(self.output.detach(), regions))
        losses = OrderedDict(l_pix=self.cri_pix(self.output, self.gt))
        losses['l_teacher'] = self.cri_pix(taught, self.gt)
        losses['l_spd'] = self.cri_spd(self.output, taught.detach(), self.gt, self.cri_pix)
        sum(losses.values()).backward()
        self.optimizer_g.step()
        self.log_dict = {name: loss.item() for name, loss in losses.items()}

    def save(self, path: str | Path) -> None:
        """Write the deployed network."""
        torch.save({'params': self.net_g.state_dict()}, path)


if __name__ == '__main__':
    model = DistilledModel(Net(), Net())
    for step, (degraded, truth) in enumerate(batches(20)):
        model.feed_data({'lq': degraded, 'gt': truth})
        model.optimize_parameters(step)
    print(model.log_dict)
