"""Named ways to measure: what exactly a paper's PSNR and SSIM are."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmsamdistill.arguments import check_choice, check_number, check_positive
from mmsamdistill.evaluation.colour import luma, luma_8bit, to_8bit
from mmsamdistill.evaluation.psnr import Image, psnr
from mmsamdistill.evaluation.ssim import MATLAB, SKIMAGE, WANG, SSIMVariant, ssim


@dataclass(frozen=True)
class Protocol:
    """Everything between two images and a number in a paper's table.

    The same outputs differ by more than a decibel between protocols (RGB or luma), and by 0.01 to
    0.1 dB between variants of one (rounded or not): a number without its protocol says little.

    Args:
        name: Name in the registry of protocols and in configs.
        label: A few words to stand beside every number.
        source: Evaluation code that is followed.
        colour: 'rgb': the image as it is (a grey one too); 'y': luma of ITU-R BT.601 in floating
            point; 'y_matlab': luma as MATLAB's ``rgb2ycbcr`` makes of an 8-bit image, in integers.
            Grey images are their own luma. Default: 'rgb'.
        rounding: 'nearest': 8 bits, as saved in a file and read back; 'none': the network's
            output, clipped. Default: 'nearest'.
        crop_border: Pixels left out on each side. Default: 0.
        peak: Peak value of PSNR and dynamic range of SSIM, for pixels in 0..255. Evaluation code
            that scales images to 0..1 with a peak of 1 gives the same numbers. Default: 255.
        ssim: Which SSIM. Default: that of Wang et al.

    Raises:
        ValueError: If an argument is not one of those allowed.

    Example:
        >>> str(get_protocol('rain_y_matlab'))
        'rain_y_matlab: Y of MATLAB, 8 bit'
        >>> get_protocol('rain_y_matlab').prepare(torch.full((3, 8, 8), 99.6)).unique().tolist()
        [102.0]
    """

    name: str
    label: str
    source: str
    colour: str = 'rgb'
    rounding: str = 'nearest'
    crop_border: int = 0
    peak: float = 255.0
    ssim: SSIMVariant = WANG

    def __post_init__(self) -> None:
        check_choice(('rgb', 'y', 'y_matlab'), colour=self.colour)
        check_choice(('nearest', 'none'), rounding=self.rounding)
        check_number(0, crop_border=self.crop_border)
        check_positive(peak=self.peak)
        if self.colour == 'y_matlab' and self.rounding != 'nearest':
            raise ValueError(
                "colour='y_matlab' is luma of 8-bit images: use rounding='nearest', or colour='y'"
            )

    def __str__(self) -> str:
        return f'{self.name}: {self.label}'

    def prepare(self, image: Image, channel_order: str = 'rgb') -> Tensor:
        """Turn ``(C, H, W)`` or ``(N, C, H, W)`` images in 0..255 into what is measured, float64.

        Luma has one channel, borders are cropped; a ValueError says what does not fit.
        """
        check_choice(('rgb', 'bgr'), channel_order=channel_order)
        pixels = torch.as_tensor(image).detach()
        if pixels.dim() not in (3, 4) or pixels.shape[-3] not in (1, 3):
            raise ValueError(
                f'an image must be (N, C, H, W) or (C, H, W), C 1 or 3, got {tuple(pixels.shape)}'
            )
        # Cropped, in range and in RGB; then as a file has it; then the channel that counts.
        pixels = self.crop(pixels).double().clamp(0, 255)
        if channel_order == 'bgr':
            pixels = pixels.flip(-3)
        if self.rounding == 'nearest':
            pixels = to_8bit(pixels)
        if self.colour == 'y_matlab':
            return luma_8bit(pixels)
        return luma(pixels) if self.colour == 'y' else pixels

    def crop(self, x: Tensor) -> Tensor:
        """Leave the border of images, maps or masks ``(..., H, W)`` out: a view."""
        height, width = (side - 2 * self.crop_border for side in x.shape[-2:])
        if min(height, width) < 1:
            raise ValueError(
                f'crop_border={self.crop_border} leaves nothing of {tuple(x.shape[-2:])} pixels'
            )
        return x.narrow(-2, self.crop_border, height).narrow(-1, self.crop_border, width)

    def describe(self) -> dict[str, Any]:
        """Every setting, fit for JSON, to be stored beside the numbers."""
        return dataclasses.asdict(self)


METRICS: dict[str, Callable[[Tensor, Tensor, Protocol], Tensor]] = {
    'PSNR': lambda restored, truth, protocol: psnr(restored, truth, protocol.peak),
    'SSIM': lambda restored, truth, protocol: ssim(restored, truth, protocol.ssim, protocol.peak),
}
"""What can be measured, by name."""

# fmt: off
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol('rain_y_matlab', 'Y of MATLAB, 8 bit',
                 'Deraining/evaluate_PSNR_SSIM.m of swz30/MPRNet and swz30/Restormer',
                 colour='y_matlab'),
        Protocol('rain_y_basicsr', 'Y in floating point of 8-bit RGB',
                 'basicsr/metrics/psnr_ssim.py of XPixelGroup/BasicSR with test_y_channel',
                 colour='y'),
        Protocol('gopro_rgb', 'RGB, 8 bit, SSIM of MATLAB',
                 'Motion_Deblurring/evaluate_gopro_hide.m of swz30/Restormer; basicsr/metrics of '
                 'megvii-research/NAFNet and megvii-model/HINet',
                 ssim=MATLAB),
        Protocol('sidd_rgb', 'RGB, not rounded, SSIM of MATLAB',
                 'Denoising/evaluate_sidd.m of swz30/Restormer; options/test/SIDD (use_image: '
                 'false) of megvii-research/NAFNet',
                 rounding='none', ssim=MATLAB),
        Protocol('denoise_rgb', 'RGB, 8 bit',
                 'Denoising/evaluate_gaussian_color_denoising.py of swz30/Restormer; '
                 'main_test_swinir.py of JingyunLiang/SwinIR'),
        Protocol('defocus_rgb', 'RGB, not rounded, SSIM of scikit-image',
                 'Defocus_Deblurring/utils.py of swz30/Restormer (100 dB there for identical '
                 'images)',
                 rounding='none', ssim=SKIMAGE),
        Protocol('mmagic_rgb', 'RGB, not rounded',
                 "PSNR and SSIM of open-mmlab/mmagic, its model zoo's numbers",
                 rounding='none'),
        Protocol('mmagic_y', 'Y in floating point, not rounded',
                 "PSNR and SSIM of open-mmlab/mmagic with convert_to='Y'",
                 colour='y', rounding='none'),
    )
}
# fmt: on
"""The protocols by name. Grey images are measured by those of colour images, as they are."""


def get_protocol(protocol: str | Protocol | Mapping[str, Any]) -> Protocol:
    """Look up a protocol.

    Args:
        protocol: A name; a protocol; or ``dict(base=NAME, ...)``, the named one with other
            settings, which its label then mentions.

    Raises:
        KeyError: If there is none of that name.
        TypeError: If a setting does not exist.
        ValueError: If a setting is not one of those allowed.

    Example:
        >>> str(get_protocol(dict(base='denoise_rgb', crop_border=4)))
        'denoise_rgb: RGB, 8 bit, but crop_border=4'
    """
    if isinstance(protocol, Protocol):
        return protocol
    if isinstance(protocol, Mapping):
        # A named protocol with other settings, which its label then tells.
        changes = dict(protocol)
        if isinstance(changes.get('ssim'), Mapping):
            changes['ssim'] = SSIMVariant(**changes['ssim'])
        base = get_protocol(changes.pop('base', ''))
        but = ', '.join(f'{key}={value}' for key, value in changes.items())
        return dataclasses.replace(base, **{'label': f'{base.label}, but {but}', **changes})
    if protocol not in PROTOCOLS:
        raise KeyError(f'there is no protocol {protocol!r}; those are {sorted(PROTOCOLS)}')
    return PROTOCOLS[protocol]


def measure(
    prediction: Image,
    truth: Image,
    protocol: str | Protocol | Mapping[str, Any],
    metrics: Sequence[str] = ('PSNR', 'SSIM'),
    channel_order: str = 'rgb',
) -> dict[str, Tensor]:
    """Measure restored images as a paper does.

    Args:
        prediction: Restored images in 0..255, ``(C, H, W)`` or ``(N, C, H, W)``.
        truth: Ground truth, alike.
        protocol: See :func:`get_protocol`.
        metrics: Which metrics. Default: both.
        channel_order: 'rgb' or 'bgr', of both images. Default: 'rgb'.

    Returns:
        The values of each metric, ``()`` or ``(N,)``.

    Raises:
        KeyError: If there is no such protocol or metric.
        ValueError: If the images do not fit the protocol or each other.

    Example:
        >>> clean = torch.full((3, 16, 16), 100.0)
        >>> values = measure(clean + 1.2, clean, 'gopro_rgb')
        >>> {name: round(value.item(), 4) for name, value in values.items()}
        {'PSNR': 48.1308, 'SSIM': 1.0}
    """
    protocol = get_protocol(protocol)
    check_metrics(metrics)
    restored = protocol.prepare(prediction, channel_order)
    wanted = protocol.prepare(truth, channel_order)
    return {name: METRICS[name](restored, wanted, protocol) for name in metrics}


def check_metrics(names: Sequence[str]) -> None:
    """Require that there are metrics of these names."""
    for name in names:
        if name not in METRICS:
            raise KeyError(f'there is no metric {name!r}; those are {sorted(METRICS)}')
