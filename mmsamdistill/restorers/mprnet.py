"""MPRNet: three stages that see quarters, halves and the whole of an image."""

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.restorers.mprnet_parts import BlockMaker, Decoder, Encoder, OriginalResolutionNet
from mmsamdistill.restorers.parts import SupervisedAttention, pad_to_multiple

# Halved for the patches, and twice more in their U-Nets.
_MULTIPLE = 8


@MODELS.register_module()
class MPRNet(nn.Module):
    """MPRNet, a restorer of three stages, from ``(N, 3, H, W)`` to the same.

    The first stage works on the quarters of an image, the second on its halves, both as U-Nets; the
    third works on the whole at full resolution. Each hands its features on to the next. Images of
    any size are taken: they are reflected up to the next multiple of 8, and the result is cut back.

    The official weights load unchanged. Published sizes: (40, 20, 16) for deraining, (96, 48, 32)
    for deblurring, (80, 48, 32) for denoising, as ``(mid_channels, unet_growth, full_growth)``.

    Args:
        mid_channels: Channels at full resolution in the first two stages, at least ``reduction``.
            Default: 40.
        unet_growth: Channels that each coarser level has more. Default: 20.
        full_growth: Channels that the third stage has more. Default: 16.
        num_blocks: Channel attention blocks in each of the third stage's three groups. Default: 8.
        kernel_size: Side of the convolutions, odd. Default: 3.
        reduction: By how much channel attention narrows the channels. Default: 4.
        bias: Whether the convolutions have biases. Default: False.

    Example:
        >>> network = MPRNet(mid_channels=4, unet_growth=2, full_growth=2, num_blocks=1)
        >>> image = torch.rand(1, 3, 13, 17)
        >>> network(image).shape, len(network.forward_stages(image))
        (torch.Size([1, 3, 13, 17]), 3)

    Source: Zamir et al., CVPR 2021; names of the parameters, sizes and padding as in
        swz30/MPRNet.
    """

    def __init__(
        self,
        mid_channels: int = 40,
        unet_growth: int = 20,
        full_growth: int = 16,
        num_blocks: int = 8,
        kernel_size: int = 3,
        reduction: int = 4,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size}')
        if not mid_channels >= reduction >= 1:
            raise ValueError(f'mid_channels={mid_channels} >= reduction={reduction} >= 1 is needed')
        maker = BlockMaker(kernel_size, reduction, bias)
        widths = (mid_channels, mid_channels + unet_growth, mid_channels + 2 * unet_growth)
        full = mid_channels + full_growth
        # 1. Each stage sees the degraded image anew.
        for stage in (1, 2, 3):
            shallow = nn.Sequential(maker.conv(3, mid_channels), maker.block(mid_channels))
            setattr(self, f'shallow_feat{stage}', shallow)
        # 2. Two U-Nets on parts of it, and a last stage on the whole.
        for stage in (1, 2):
            setattr(self, f'stage{stage}_encoder', Encoder(maker, widths, fuse=stage == 2))
            setattr(self, f'stage{stage}_decoder', Decoder(maker, widths))
        self.stage3_orsnet = OriginalResolutionNet(maker, widths, full, num_blocks)
        # 3. What leads from one stage to the next.
        self.sam12 = SupervisedAttention(mid_channels, kernel_size=1, bias=bias)
        self.sam23 = SupervisedAttention(mid_channels, kernel_size=1, bias=bias)
        self.concat12 = maker.conv(2 * mid_channels, mid_channels)
        self.concat23 = maker.conv(2 * mid_channels, full)
        self.tail = maker.conv(full, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Restore images: those of the third stage."""
        return self.forward_stages(image)[-1]

    def forward_stages(self, image: Tensor) -> list[Tensor]:
        """Restore images and return what each stage makes of them, the deployed one last.

        The official network returns the same images in the opposite order.
        """
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, _MULTIPLE)
        halves = _split(image, dim=2)

        # Stage 1: quarters are encoded apart, and decoded as halves.
        encoded = self.stage1_encoder(self.shallow_feat1(_split(halves, dim=3)))
        encoded = [_join(level, dim=3) for level in encoded]
        decoded = self.stage1_decoder(encoded)
        gated, first = self.sam12(decoded[0], halves)

        # Stage 2: halves are encoded apart, and decoded as the whole.
        x = self.concat12(torch.cat([self.shallow_feat2(halves), gated], dim=1))
        encoded = self.stage2_encoder(x, encoded, decoded)
        encoded = [_join(level, dim=2) for level in encoded]
        decoded = self.stage2_decoder(encoded)
        gated, second = self.sam23(decoded[0], image)

        # Stage 3: the whole at full resolution.
        x = self.concat23(torch.cat([self.shallow_feat3(image), gated], dim=1))
        third = self.tail(self.stage3_orsnet(x, encoded, decoded)) + image
        stages = (_join(first, dim=2), second, third)
        return [stage[..., :height, :width] for stage in stages]


def _split(images: Tensor, dim: int) -> Tensor:
    """Cut images in two along ``dim``; all first parts come first in the batch."""
    return torch.cat(_halves(images, dim), dim=0)


def _join(images: Tensor, dim: int) -> Tensor:
    """Undo :func:`_split`."""
    return torch.cat(_halves(images, 0), dim=dim)


def _halves(images: Tensor, dim: int) -> list[Tensor]:
    # Not `chunk`, which a graph of open sizes cannot hold.
    half = images.shape[dim] // 2
    return [images.narrow(dim, start, half) for start in (0, half)]
