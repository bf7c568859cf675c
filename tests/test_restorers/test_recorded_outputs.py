"""Outputs recorded when each network equalled its authors' code: what official weights rely on."""

import pytest
import torch

from mmsamdistill.restorers import HINet, MPRNet, PReNet

NETWORKS = {
    'HINet': lambda: HINet(mid_channels=4, depth=3, hin_levels=(0, 1)),
    'MPRNet': lambda: MPRNet(mid_channels=4, unet_growth=2, full_growth=2, num_blocks=1),
    'PReNet': lambda: PReNet(num_stages=3, mid_channels=4),
}
# Red, green and blue of one pixel at a border, and of one inside.
RECORDED = {
    'HINet': [0.398313064, 0.409984628, -0.214764808, 0.476877245, 0.666945893, 1.049894102],
    'MPRNet': [0.186109846, -1.76237149, 0.017801031, -0.272698854, 0.826603743, -3.01580059],
    'PReNet': [0.209075218, 0.834677677, -0.065141369, 0.00121606, 0.23628642, 0.537383258],
}


def ramp(shape, step):
    """Numbers of mean zero and at most a half, without any random ones."""
    numbers = torch.arange(shape.numel()).mul(7 + 2 * step).remainder(31)
    return ((numbers - 15).double() / 31).reshape(shape)


@pytest.mark.parametrize('name', NETWORKS)
@torch.no_grad()
def test_exact_weights_give_the_recorded_pixels(name):
    network = NETWORKS[name]().double().eval()
    for step, parameter in enumerate(network.parameters()):
        # As wide as activations need to stay of one size.
        width = 3 * parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 1
        parameter.copy_(width * ramp(parameter.shape, step))
    restored = network(0.5 + ramp(torch.Size((1, 3, 16, 24)), 3))[0]
    pixels = [*restored[:, 0, 7].tolist(), *restored[:, 9, 12].tolist()]
    assert pixels == pytest.approx(RECORDED[name], rel=1e-5, abs=1e-7)
