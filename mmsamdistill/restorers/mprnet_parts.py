"""Blocks of MPRNet (Zamir et al., CVPR 2021): channel attention, the U-Nets, the last stage."""

from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class BlockMaker:
    """Makes channel attention blocks that share one learned slope, as the official code does."""

    kernel_size: int
    reduction: int
    bias: bool
    activation: nn.Module = field(default_factory=nn.PReLU)

    def conv(self, channels: int, out_channels: int, bias: bool | None = None) -> nn.Conv2d:
        """Make a convolution that keeps the size."""
        bias = self.bias if bias is None else bias
        half = self.kernel_size // 2
        return nn.Conv2d(channels, out_channels, self.kernel_size, padding=half, bias=bias)

    def block(self, channels: int) -> nn.Module:
        """Make one block."""
        return _ChannelAttentionBlock(self, channels)

    def pair(self, channels: int) -> nn.Sequential:
        """Make two blocks in a row."""
        return nn.Sequential(self.block(channels), self.block(channels))


class _ChannelAttention(nn.Module):
    """Scale each channel by what all channels are on average (RCAN)."""

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
        return x * self.conv_du(self.avg_pool(x))


class _ChannelAttentionBlock(nn.Module):
    """Two convolutions and channel attention beside a shortcut (the paper's CAB)."""

    def __init__(self, maker: BlockMaker, channels: int) -> None:
        super().__init__()
        self.CA = _ChannelAttention(channels, maker.reduction, maker.bias)
        self.body = nn.Sequential(
            maker.conv(channels, channels), maker.activation, maker.conv(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.CA(self.body(x)) + x


class _Resample(nn.Module):
    """Halve or double the resolution bilinearly, then change the channels."""

    def __init__(self, scale: float, channels: int, out_channels: int) -> None:
        super().__init__()
        resize = nn.Upsample(scale_factor=scale, mode='bilinear', align_corners=False)
        layers = nn.Sequential(resize, nn.Conv2d(channels, out_channels, 1, bias=False))
        self.name = 'down' if scale < 1 else 'up'
        setattr(self, self.name, layers)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.name)(x)


class Encoder(nn.Module):
    """Features of three levels, each at half of the resolution of the one before."""

    def __init__(self, maker: BlockMaker, widths: tuple[int, int, int], fuse: bool) -> None:
        super().__init__()
        for level, width in enumerate(widths, start=1):
            setattr(self, f'encoder_level{level}', maker.pair(width))
        self.down12 = _Resample(0.5, widths[0], widths[1])
        self.down23 = _Resample(0.5, widths[1], widths[2])
        for source in ('enc', 'dec') if fuse else ():
            for level, width in enumerate(widths, start=1):
                fusing = nn.Conv2d(width, width, 1, bias=maker.bias)
                setattr(self, f'csff_{source}{level}', fusing)

    def forward(
        self, x: Tensor, encoded: list[Tensor] | None = None, decoded: list[Tensor] | None = None
    ) -> list[Tensor]:
        """Features of each level, finest first, with those of the stage before if it fuses them."""
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
    """The way back from the coarsest level to the finest."""

    def __init__(self, maker: BlockMaker, widths: tuple[int, int, int]) -> None:
        super().__init__()
        for level, width in enumerate(widths, start=1):
            setattr(self, f'decoder_level{level}', maker.pair(width))
        self.skip_attn1 = maker.block(widths[0])
        self.skip_attn2 = maker.block(widths[1])
        self.up21 = _Resample(2, widths[1], widths[0])
        self.up32 = _Resample(2, widths[2], widths[1])

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        """Features of each level, finest first."""
        coarse = self.decoder_level3(encoded[2])
        middle = self.decoder_level2(self.up32(coarse) + self.skip_attn2(encoded[1]))
        fine = self.decoder_level1(self.up21(middle) + self.skip_attn1(encoded[0]))
        return [fine, middle, coarse]


class _OriginalResolutionBlock(nn.Module):
    """Channel attention blocks and a convolution beside a shortcut (the paper's ORB)."""

    def __init__(self, maker: BlockMaker, channels: int, num_blocks: int) -> None:
        super().__init__()
        blocks = [maker.block(channels) for _ in range(num_blocks)]
        self.body = nn.Sequential(*blocks, maker.conv(channels, channels, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x


class OriginalResolutionNet(nn.Module):
    """The last stage (ORSNet): full resolution, all levels of the stage before added."""

    def __init__(
        self, maker: BlockMaker, widths: tuple[int, int, int], channels: int, num_blocks: int
    ) -> None:
        super().__init__()
        for level in (1, 2, 3):
            orb = _OriginalResolutionBlock(maker, channels, num_blocks)
            setattr(self, f'orb{level}', orb)
        for source in ('enc', 'dec'):
            setattr(self, f'up_{source}1', _Resample(2, widths[1], widths[0]))
            twice = nn.Sequential(
                _Resample(2, widths[2], widths[1]), _Resample(2, widths[1], widths[0])
            )
            setattr(self, f'up_{source}2', twice)
            for level in (1, 2, 3):
                conv = nn.Conv2d(widths[0], channels, 1, bias=maker.bias)
                setattr(self, f'conv_{source}{level}', conv)

    def forward(self, x: Tensor, encoded: list[Tensor], decoded: list[Tensor]) -> Tensor:
        """Refine features by the encoder's and decoder's of the stage before, finest first."""
        for level in (1, 2, 3):
            x = getattr(self, f'orb{level}')(x)
            for source, features in (('enc', encoded), ('dec', decoded)):
                # All at full resolution, whichever level they are of.
                finest = features[level - 1]
                if level > 1:
                    finest = getattr(self, f'up_{source}{level - 1}')(finest)
                x = x + getattr(self, f'conv_{source}{level}')(finest)
        return x
