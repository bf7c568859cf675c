"""Blocks of MPRNet: channel attention, the U-Nets of the first stages, the last stage."""

from __future__ import annotations

from torch import Tensor, nn


class BlockMaker:
    """Makes channel attention blocks that share their activation, a single learned slope.

    Args:
        kernel_size: Side of the convolutions, odd.
        reduction: By how much the attention narrows the channels.
        bias: Whether the convolutions have biases.

    Source: Zamir et al., CVPR 2021; that the slope is shared is a matter of the official code.
    """

    def __init__(self, kernel_size: int, reduction: int, bias: bool) -> None:
        self.kernel_size = kernel_size
        self.reduction = reduction
        self.bias = bias
        self.activation = nn.PReLU()

    def conv(self, channels: int, out_channels: int, bias: bool | None = None) -> nn.Conv2d:
        """Make a convolution that keeps the size."""
        bias = self.bias if bias is None else bias
        half = self.kernel_size // 2
        return nn.Conv2d(channels, out_channels, self.kernel_size, padding=half, bias=bias)

    def block(self, channels: int) -> ChannelAttentionBlock:
        """Make one block."""
        return ChannelAttentionBlock(self, channels)

    def pair(self, channels: int) -> nn.Sequential:
        """Make two blocks in a row."""
        return nn.Sequential(self.block(channels), self.block(channels))


class ChannelAttention(nn.Module):
    """Scale each channel by what all channels are on average.

    Args:
        channels: Channels C.
        reduction: By how much they are narrowed between.
        bias: Whether the convolutions have biases.

    Shape:
        - x, returns: (N, C, H, W)

    Source: Zhang et al., ECCV 2018 (RCAN).
    """

    def __init__(self, channels: int, reduction: int, bias: bool) -> None:
        super().__init__()
        narrow = channels // reduction
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, narrow, 1, bias=bias),
            nn.ReLU(),
            nn.Conv2d(narrow, channels, 1, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels."""
        return x * self.conv_du(self.avg_pool(x))


class ChannelAttentionBlock(nn.Module):
    """Two convolutions and channel attention beside a shortcut.

    Args:
        maker: What all blocks of the network share.
        channels: Channels C.

    Shape:
        - x, returns: (N, C, H, W)

    Source: Zamir et al., CVPR 2021 (CAB).
    """

    def __init__(self, maker: BlockMaker, channels: int) -> None:
        super().__init__()
        self.CA = ChannelAttention(channels, maker.reduction, maker.bias)
        self.body = nn.Sequential(
            maker.conv(channels, channels), maker.activation, maker.conv(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Refine the features."""
        return self.CA(self.body(x)) + x


class Resample(nn.Module):
    """Change the resolution bilinearly, then the channels by a 1 x 1 convolution.

    Args:
        scale: 0.5 or 2.
        channels: Channels of the input.
        out_channels: Channels of the output.

    Shape:
        - x: (N, channels, H, W)
        - returns: (N, out_channels, scale * H, scale * W)

    Source: Zamir et al., CVPR 2021.
    """

    def __init__(self, scale: float, channels: int, out_channels: int) -> None:
        super().__init__()
        resize = nn.Upsample(scale_factor=scale, mode='bilinear', align_corners=False)
        layers = nn.Sequential(resize, nn.Conv2d(channels, out_channels, 1, bias=False))
        self.name = 'down' if scale < 1 else 'up'
        setattr(self, self.name, layers)

    def forward(self, x: Tensor) -> Tensor:
        """Change resolution and channels."""
        return getattr(self, self.name)(x)


class Encoder(nn.Module):
    """Three levels of features, each at half of the resolution of the one before.

    Args:
        maker: Makes the blocks.
        widths: Channels of the three levels, finest first.
        fuse: Add the features of the stage before.

    Shape:
        - x: (N, widths[0], H, W), H and W multiples of 4

    Source: Zamir et al., CVPR 2021.
    """

    def __init__(self, maker: BlockMaker, widths: tuple[int, int, int], fuse: bool) -> None:
        super().__init__()
        for level, width in enumerate(widths, start=1):
            setattr(self, f'encoder_level{level}', maker.pair(width))
        self.down12 = Resample(0.5, widths[0], widths[1])
        self.down23 = Resample(0.5, widths[1], widths[2])
        for source in ('enc', 'dec') if fuse else ():
            for level, width in enumerate(widths, start=1):
                fusing = nn.Conv2d(width, width, 1, bias=maker.bias)
                setattr(self, f'csff_{source}{level}', fusing)

    def forward(
        self,
        x: Tensor,
        encoded: list[Tensor] | None = None,
        decoded: list[Tensor] | None = None,
    ) -> list[Tensor]:
        """Give the features of each level, finest first.

        Args:
            x: Features of the finest level.
            encoded: What the encoder of the stage before gave, if features are fused.
            decoded: The same of its decoder.
        """
        levels = []
        for level, down in enumerate((None, self.down12, self.down23), start=1):
            x = x if down is None else down(x)
            x = getattr(self, f'encoder_level{level}')(x)
            if encoded is not None and decoded is not None:
                x = x + getattr(self, f'csff_enc{level}')(encoded[level - 1])
                x = x + getattr(self, f'csff_dec{level}')(decoded[level - 1])
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """The way back from the coarsest level to the finest.

    Args:
        maker: Makes the blocks.
        widths: Channels of the three levels, finest first.

    Source: Zamir et al., CVPR 2021.
    """

    def __init__(self, maker: BlockMaker, widths: tuple[int, int, int]) -> None:
        super().__init__()
        for level, width in enumerate(widths, start=1):
            setattr(self, f'decoder_level{level}', maker.pair(width))
        self.skip_attn1 = maker.block(widths[0])
        self.skip_attn2 = maker.block(widths[1])
        self.up21 = Resample(2, widths[1], widths[0])
        self.up32 = Resample(2, widths[2], widths[1])

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        """Give the features of each level, finest first.

        Args:
            encoded: The encoder's features, finest first.
        """
        coarse = self.decoder_level3(encoded[2])
        middle = self.decoder_level2(self.up32(coarse) + self.skip_attn2(encoded[1]))
        fine = self.decoder_level1(self.up21(middle) + self.skip_attn1(encoded[0]))
        return [fine, middle, coarse]


class OriginalResolutionBlock(nn.Module):
    """Several channel attention blocks and a convolution beside a shortcut.

    Args:
        maker: Makes the blocks.
        channels: Channels C.
        num_blocks: How many blocks.

    Shape:
        - x, returns: (N, C, H, W)

    Source: Zamir et al., CVPR 2021 (ORB).
    """

    def __init__(self, maker: BlockMaker, channels: int, num_blocks: int) -> None:
        super().__init__()
        blocks = [maker.block(channels) for _ in range(num_blocks)]
        self.body = nn.Sequential(*blocks, maker.conv(channels, channels, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Refine the features."""
        return self.body(x) + x


class OriginalResolutionNet(nn.Module):
    """The last stage: no change of resolution, all levels of the stage before added.

    Args:
        maker: Makes the blocks.
        widths: Channels of the three levels of the stage before, finest first.
        channels: Channels C of this stage.
        num_blocks: Channel attention blocks in each of the three groups.

    Shape:
        - x, returns: (N, C, H, W)

    Source: Zamir et al., CVPR 2021 (ORSNet).
    """

    def __init__(
        self, maker: BlockMaker, widths: tuple[int, int, int], channels: int, num_blocks: int
    ) -> None:
        super().__init__()
        for level in (1, 2, 3):
            orb = OriginalResolutionBlock(maker, channels, num_blocks)
            setattr(self, f'orb{level}', orb)
        for source in ('enc', 'dec'):
            setattr(self, f'up_{source}1', Resample(2, widths[1], widths[0]))
            twice = nn.Sequential(
                Resample(2, widths[2], widths[1]), Resample(2, widths[1], widths[0])
            )
            setattr(self, f'up_{source}2', twice)
            for level in (1, 2, 3):
                conv = nn.Conv2d(widths[0], channels, 1, bias=maker.bias)
                setattr(self, f'conv_{source}{level}', conv)

    def forward(self, x: Tensor, encoded: list[Tensor], decoded: list[Tensor]) -> Tensor:
        """Refine the features.

        Args:
            x: Features.
            encoded: What the encoder of the stage before gave, finest first.
            decoded: The same of its decoder.
        """
        for level in (1, 2, 3):
            x = getattr(self, f'orb{level}')(x)
            for source, features in (('enc', encoded), ('dec', decoded)):
                finest = features[level - 1]
                if level > 1:
                    finest = getattr(self, f'up_{source}{level - 1}')(finest)
                x = x + getattr(self, f'conv_{source}{level}')(finest)
        return x
