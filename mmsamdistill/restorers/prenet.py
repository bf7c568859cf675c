"""PReNet: one small residual network, applied several times with a memory between."""

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.arguments import check_number

_BLOCKS = 5


@MODELS.register_module()
class PReNet(nn.Module):
    r"""Progressive recurrent network for deraining, from ``(N, 3, H, W)`` to the same.

    .. math::
        h_t, c_t = LSTM(g([x, I_{t-1}]), h_{t-1}, c_{t-1}), \qquad I_t = x + out(res(h_t)),
        \qquad I_0 = x

    Every stage has the same weights, so that more of them cost time and no parameters. The official
    weights load unchanged, those of PReNet as well as, with ``shared_blocks``, those of PReNet_r.

    Args:
        num_stages: How often the network is applied, at least 1. Default: 6.
        mid_channels: Channels of the features. Default: 32.
        shared_blocks: Apply one residual block five times (PReNet_r) instead of five blocks.
            Default: False.

    Raises:
        ValueError: If ``num_stages`` or ``mid_channels`` is below 1.

    Example:
        >>> network = PReNet(num_stages=2, mid_channels=4)
        >>> image = torch.rand(1, 3, 7, 9)
        >>> network(image).shape, len(network.forward_stages(image))
        (torch.Size([1, 3, 7, 9]), 2)

    Source: Ren et al., CVPR 2019; names of the parameters as in ``networks.py`` of csdwren/PReNet.
    """

    def __init__(
        self, num_stages: int = 6, mid_channels: int = 32, shared_blocks: bool = False
    ) -> None:
        super().__init__()
        check_number(1, num_stages=num_stages, mid_channels=mid_channels)
        self.num_stages = num_stages
        self.mid_channels = mid_channels
        self.shared_blocks = shared_blocks
        self.conv0 = nn.Sequential(_conv(6, mid_channels), nn.ReLU())
        # One block that is applied five times, or five.
        for index in range(1, 2 if shared_blocks else _BLOCKS + 1):
            block = nn.Sequential(
                *(_conv(mid_channels, mid_channels), nn.ReLU()),
                *(_conv(mid_channels, mid_channels), nn.ReLU()),
            )
            setattr(self, f'res_conv{index}', block)
        # Input, forget and output gate of the memory, and what it is offered.
        for gate in 'ifgo':
            squash = nn.Tanh() if gate == 'g' else nn.Sigmoid()
            layers = nn.Sequential(_conv(2 * mid_channels, mid_channels), squash)
            setattr(self, f'conv_{gate}', layers)
        self.conv = nn.Sequential(_conv(mid_channels, 3))

    def forward(self, image: Tensor) -> Tensor:
        """Restore images: those of the last stage."""
        return self.forward_stages(image)[-1]

    def forward_stages(self, image: Tensor) -> list[Tensor]:
        """Restore images and return what each stage makes of them, the deployed one last."""
        restored, stages = image, []
        count, _, height, width = image.shape  # not `len`, which a traced graph would fix
        hidden = cell = image.new_zeros(count, self.mid_channels, height, width)
        for _ in range(self.num_stages):
            features = self.conv0(torch.cat([image, restored], dim=1))
            hidden, cell = self._remember(features, hidden, cell)
            restored = self.conv(self._refine(hidden)) + image
            stages.append(restored)
        return stages

    def _remember(self, features: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Convolutional LSTM."""
        joined = torch.cat([features, hidden], dim=1)
        cell = self.conv_f(joined) * cell + self.conv_i(joined) * self.conv_g(joined)
        return self.conv_o(joined) * cell.tanh(), cell

    def _refine(self, x: Tensor) -> Tensor:
        for index in range(1, _BLOCKS + 1):
            block = self.res_conv1 if self.shared_blocks else getattr(self, f'res_conv{index}')
            x = (block(x) + x).relu()
        return x


def _conv(channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=1)
