"""Structural similarity in the variants that papers report."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmsamdistill.arguments import check_choice, check_positive
from mmsamdistill.evaluation.psnr import Image, image_pair

# Values in a band of rows: small enough for a processor's cache, which is worth a factor of three.
_BAND = 1 << 17


@dataclass(frozen=True)
class SSIMVariant:
    """What implementations of SSIM disagree about.

    Args:
        window: Local weights: 'gaussian' or 'uniform'. Default: 'gaussian'.
        size: Side of the window in pixels, odd, at least 3. Default: 11.
        sigma: Standard deviation of the gaussian window in pixels. Default: 1.5.
        padding: 'valid' averages over the pixels whose window lies inside the image, 'replicate'
            over all pixels, the border repeated. Default: 'valid'.
        volumetric: Take a colour image as one volume, the channels as a third dimension with the
            border repeated, instead of averaging over the channels. Default: False.
        unbiased: Divide variances by n - 1 instead of n. Default: False.

    Example:
        >>> [round(tap, 3) for tap in SSIMVariant(size=3).taps()]
        [0.308, 0.384, 0.308]
    """

    window: str = 'gaussian'
    size: int = 11
    sigma: float = 1.5
    padding: str = 'valid'
    volumetric: bool = False
    unbiased: bool = False

    def __post_init__(self) -> None:
        check_choice(('gaussian', 'uniform'), window=self.window)
        check_choice(('valid', 'replicate'), padding=self.padding)
        check_positive(sigma=self.sigma)
        if self.size < 3 or self.size % 2 == 0:
            raise ValueError(f'size must be odd and at least 3, got {self.size}')

    def taps(self) -> list[float]:
        """Weights of the window along one dimension; they sum up to 1."""
        radius = self.size // 2
        if self.window == 'uniform':
            return [1 / self.size] * self.size
        weights = [math.exp(-0.5 * (k / self.sigma) ** 2) for k in range(-radius, radius + 1)]
        return [weight / sum(weights) for weight in weights]

    def correction(self) -> float:
        """Factor from the plain to the reported variance."""
        if not self.unbiased:
            return 1.0
        samples = self.size ** (3 if self.volumetric else 2)
        return samples / (samples - 1)


WANG = SSIMVariant()
"""The authors' own code (Wang et al. 2004), BasicSR, SwinIR, MMagic; as scikit-image's with
``gaussian_weights=True, sigma=1.5, use_sample_covariance=False`` for each channel."""

MATLAB = SSIMVariant(padding='replicate', volumetric=True)
"""MATLAB's ``ssim``, which takes an RGB image for a volume; NAFNet and HINet reproduce it."""

SKIMAGE = SSIMVariant(window='uniform', size=7, unbiased=True)
"""scikit-image's ``structural_similarity`` with its defaults, for each channel."""


def ssim(
    prediction: Image, truth: Image, variant: SSIMVariant = WANG, peak: float = 255.0
) -> Tensor:
    """Structural similarity of each image (Wang et al., IEEE TIP 2004), averaged over its pixels.

    Windows are separable, so that the cost is linear in their side; everything is float64.
    """
    prediction, truth = image_pair(prediction, truth)
    check_positive(peak=peak)
    if variant.padding == 'valid' and min(prediction.shape[-2:]) < variant.size:
        raise ValueError(
            f'an image of {tuple(prediction.shape[-2:])} pixels is smaller than the window of '
            f'SSIM, {variant.size} x {variant.size}; leave SSIM out, or measure larger images'
        )
    # 1. Channels that do not mix are as many grey images.
    layout = (-1, *prediction.shape[-3 if variant.volumetric else -2 :])
    planes = zip(prediction.reshape(layout), truth.reshape(layout), strict=True)
    values = torch.stack([_mean_similarity(a, b, variant, peak) for a, b in planes])
    # 2. Back to one value an image.
    if prediction.dim() == 3:
        return values.mean()
    return values.view(prediction.shape[0], -1).mean(1)


def _mean_similarity(a: Tensor, b: Tensor, variant: SSIMVariant, peak: float) -> Tensor:
    a, b = (x.view(1, -1, *x.shape[-2:]) for x in (a, b))
    reach = variant.size - 1
    if variant.padding == 'replicate':
        a, b = (F.pad(x, [reach // 2] * 4, mode='replicate') for x in (a, b))
    height = a.shape[2] - reach
    # Band after band of rows, which overlap by what the window reaches.
    step = max(16, _BAND // a[:, :, 0].numel())
    total = a.new_zeros(())
    for top in range(0, height, step):
        band = slice(top, top + step + reach)
        total += _similarity(a[:, :, band], b[:, :, band], variant, peak).sum()
    return total / (height * (a.shape[3] - reach) * a.shape[1])


def _similarity(a: Tensor, b: Tensor, variant: SSIMVariant, peak: float) -> Tensor:
    mean_a, mean_b = _local_mean(a, variant), _local_mean(b, variant)
    mean_ab, means = mean_a * mean_b, mean_a.square() + mean_b.square()
    covariance = (_local_mean(a * b, variant) - mean_ab) * variant.correction()
    # One filter for both variances: they only occur as their sum.
    variances = _local_mean(a.square() + b.square(), variant) - means
    variances = variances * variant.correction()
    # Both constants keep flat areas from dividing by zero.
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    return (2 * mean_ab + c1) * (2 * covariance + c2) / ((means + c1) * (variances + c2))


def _local_mean(x: Tensor, variant: SSIMVariant) -> Tensor:
    taps = variant.taps()
    if variant.volumetric:
        x = _over_channels(x, taps)
    return _slide(_slide(x, taps, -1), taps, -2)


def _slide(x: Tensor, taps: list[float], dim: int) -> Tensor:
    # Shifted sums instead of a convolution: those of float64 are unfolded first, which is slow and
    # takes as many copies of the image as the window has taps.
    length = x.shape[dim] - len(taps) + 1
    total = x.narrow(dim, 0, length) * taps[0]
    for shift, tap in enumerate(taps[1:], start=1):
        total.add_(x.narrow(dim, shift, length), alpha=tap)
    return total


def _over_channels(x: Tensor, taps: list[float]) -> Tensor:
    channels, radius = x.shape[1], len(taps) // 2
    mixing = x.new_zeros(channels, channels)
    for channel in range(channels):
        for shift, tap in enumerate(taps):
            mixing[channel, min(max(channel + shift - radius, 0), channels - 1)] += tap
    return torch.einsum('ij,njhw->nihw', mixing, x)
