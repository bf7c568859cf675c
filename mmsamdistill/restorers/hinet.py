"""HINet: two U-Nets in a row whose encoders normalise half of their channels."""

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.restorers.parts import SupervisedAttention, pad_to_multiple


class _HINBlock(nn.Module):
    """Two convolutions beside a shortcut; half of the channels between them may be normalised."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        relu_slope: float,
        half_norm: bool = False,
        downsample: bool = False,
        fuse: bool = False,
    ) -> None:
        super().__init__()
        self.identity = nn.Conv2d(in_channels, channels, 1)
        self.conv_1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.relu_1 = nn.LeakyReLU(relu_slope)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu_2 = nn.LeakyReLU(relu_slope)
        if fuse:
            self.csff_enc = nn.Conv2d(channels, channels, 3, padding=1)
            self.csff_dec = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.InstanceNorm2d(channels // 2, affine=True) if half_norm else None
        if downsample:
            self.downsample = nn.Conv2d(channels, channels, 4, 2, 1, bias=False)

    def forward(
        self, x: Tensor, encoded: Tensor | None = None, decoded: Tensor | None = None
    ) -> Tensor:
        """Add, if given, what this level's encoder and decoder of the stage before gave."""
        # Half of the channels are normalised, the other half keeps the contrast.
        hidden = self.conv_1(x)
        if self.norm is not None:
            normed, raw = hidden.chunk(2, dim=1)
            hidden = torch.cat([self.norm(normed), raw], dim=1)
        hidden = self.relu_2(self.conv_2(self.relu_1(hidden))) + self.identity(x)
        if encoded is not None and decoded is not None:
            hidden = hidden + self.csff_enc(encoded) + self.csff_dec(decoded)
        return hidden


class _HINUpBlock(nn.Module):
    """Double the resolution and join the features that the encoder had there."""

    def __init__(self, in_channels: int, channels: int, relu_slope: float) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, channels, 2, stride=2)
        self.conv_block = _HINBlock(2 * channels, channels, relu_slope)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """Features of the finer level, out of the coarser one's and the encoder's own."""
        return self.conv_block(torch.cat([self.up(x), bridge], dim=1))


@MODELS.register_module()
class HINet(nn.Module):
    """HINet, a restorer of two stages, from ``(N, 3, H, W)`` to the same.

    Both stages are U-Nets that see the degraded image; the second also sees the first one's gated
    features, and its encoder those of the first one's levels. Images of any size are taken: they
    are reflected up to the next multiple of ``2 ** (depth - 1)``, and the result is cut back.

    The official weights load unchanged. Published sizes: ``mid_channels=64`` for denoising and
    deraining, 32 (0.5x) for denoising, ``mid_channels=64, hin_levels=(3, 4)`` for deblurring.

    Args:
        mid_channels: Channels of the finest level, even; doubled from level to level. Default: 64.
        depth: Levels of each U-Net, at least 1. Default: 5.
        relu_slope: Slope of the leaky ReLUs below zero. Default: 0.2.
        hin_levels: First and last level whose encoder block has half instance normalisation,
            counted from 0. Default: (0, 4).

    Example:
        >>> network = HINet(mid_channels=4, depth=2)
        >>> image = torch.rand(1, 3, 7, 9)
        >>> network(image).shape, len(network.forward_stages(image))
        (torch.Size([1, 3, 7, 9]), 2)

    Source: Chen et al., CVPRW 2021; names of the parameters as in
        ``basicsr/models/archs/hinet_arch.py`` of megvii-model/HINet. The padding is ours.
    """

    def __init__(
        self,
        mid_channels: int = 64,
        depth: int = 5,
        relu_slope: float = 0.2,
        hin_levels: tuple[int, int] = (0, 4),
    ) -> None:
        super().__init__()
        if depth < 1 or mid_channels < 2 or mid_channels % 2:
            raise ValueError(
                f'depth must be at least 1 and mid_channels even, got {depth} and {mid_channels}'
            )
        self.depth = depth
        widths = [mid_channels * 2**level for level in range(depth)]
        first, last = hin_levels
        half_norm = [first <= level <= last for level in range(depth)]
        # 1. Two U-Nets of the same widths; the second one's encoder fuses what the first one found.
        for stage in (1, 2):
            setattr(self, f'conv_0{stage}', nn.Conv2d(3, mid_channels, 3, padding=1))
            down = _encoder(widths, relu_slope, half_norm, fuse=stage == 2)
            setattr(self, f'down_path_{stage}', down)
            finer = [*zip(widths[:0:-1], widths[-2::-1], strict=True)]
            ups = [_HINUpBlock(below, width, relu_slope) for below, width in finer]
            setattr(self, f'up_path_{stage}', nn.ModuleList(ups))
            skips = [nn.Conv2d(width, width, 3, padding=1) for _, width in finer]
            setattr(self, f'skip_conv_{stage}', nn.ModuleList(skips))
        # 2. What leads from one to the other, and the image at the end.
        self.sam12 = SupervisedAttention(mid_channels, kernel_size=3, bias=True)
        self.cat12 = nn.Conv2d(2 * mid_channels, mid_channels, 1)
        self.last = nn.Conv2d(mid_channels, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Restore images: those of the second stage."""
        return self.forward_stages(image)[-1]

    def forward_stages(self, image: Tensor) -> list[Tensor]:
        """Restore images and return what both stages make of them, the deployed one last."""
        # Stage 1, whose features of all levels go on.
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, 2 ** (self.depth - 1))
        encoded = self._encode(self.down_path_1, self.conv_01(image))
        decoded = self._decode(self.up_path_1, self.skip_conv_1, encoded)
        gated, first = self.sam12(decoded[0], image)

        # Stage 2 sees the image again, and what the first one's image let through.
        x = self.cat12(torch.cat([self.conv_02(image), gated], dim=1))
        encoded = self._encode(self.down_path_2, x, encoded, decoded)
        decoded = self._decode(self.up_path_2, self.skip_conv_2, encoded)
        second = self.last(decoded[0]) + image
        return [stage[..., :height, :width] for stage in (first, second)]

    def _encode(
        self,
        path: nn.ModuleList,
        x: Tensor,
        encoded: list[Tensor] | None = None,
        decoded: list[Tensor] | None = None,
    ) -> list[Tensor]:
        """Give the features of each level, finest first."""
        levels = []
        for level, block in enumerate(path[:-1]):
            before = () if encoded is None else (encoded[level], decoded[level])
            levels.append(block(x, *before))
            x = block.downsample(levels[-1])
        return [*levels, path[-1](x)]

    def _decode(
        self, path: nn.ModuleList, skips: nn.ModuleList, encoded: list[Tensor]
    ) -> list[Tensor]:
        """Give the features of each level, finest first; the coarsest are the encoder's."""
        levels = [encoded[-1]]
        for up, skip, bridge in zip(path, skips, encoded[-2::-1], strict=True):
            levels.insert(0, up(levels[0], skip(bridge)))
        return levels


def _encoder(
    widths: list[int], relu_slope: float, half_norm: list[bool], fuse: bool
) -> nn.ModuleList:
    blocks, channels = nn.ModuleList(), widths[0]
    for level, width in enumerate(widths):
        # The coarsest level is halved no more, and gets nothing from the stage before.
        down = level + 1 < len(widths)
        blocks.append(
            _HINBlock(channels, width, relu_slope, half_norm[level], down, fuse=fuse and down)
        )
        channels = width
    return blocks
