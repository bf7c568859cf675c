"""Pixel values as the evaluation scripts of the papers see them."""

from __future__ import annotations

from torch import Tensor

# Luma of ITU-R BT.601 in studio range, in thousandths: Y = 16 + (65.481 R + ...) / 255.
_LUMA = (65481, 128553, 24966)
_SCALE = 255_000
_OFFSET = 16


def to_8bit(image: Tensor) -> Tensor:
    """Pixel values after saving as an 8-bit image and reading back.

    Papers measure saved images, whereas MMagic measures the network's output as it is. Values are
    clipped and rounded to the nearest integer, halves to even, which is what ``cv2.imwrite`` of a
    float image, ``skimage.img_as_ubyte`` and BasicSR's ``tensor2img`` do. PNG itself is lossless.

    Args:
        image: Pixel values in the range 0..255.

    Shape:
        - image, result: any

    Returns:
        Integers in float64. NaN stays NaN.

    Example:
        >>> import torch
        >>> to_8bit(torch.tensor([-3.0, 1.5, 2.5, 99.7, 260.0])).tolist()
        [0.0, 2.0, 2.0, 100.0, 255.0]
    """
    return image.double().clamp(0, 255).round()


def luma(rgb: Tensor) -> Tensor:
    """Y of YCbCr in floating point, as BasicSR and MMagic compute it.

    ``Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255`` is never rounded. They compute in float32,
    this in float64: the values agree to 1e-4.

    Args:
        rgb: Colour images in the range 0..255, channels in the order RGB; grey images, which are
            their own luma.

    Shape:
        - rgb: ``(..., 3, H, W)`` or ``(..., 1, H, W)``
        - result: ``(..., 1, H, W)``

    Returns:
        Y in the range 16..235, in float64; a grey image as it is.

    Raises:
        ValueError: If there is another number of channels.

    Example:
        >>> import torch
        >>> luma(torch.tensor([255.0, 0.0, 0.0]).view(3, 1, 1)).item()
        81.481

    Source: ITU-R BT.601; XPixelGroup/BasicSR ``basicsr/metrics/metric_util.py``.
    """
    image = _check_channels(rgb).double()
    return image if image.shape[-3] == 1 else _weighted_sum(image) / _SCALE + _OFFSET


def luma_8bit(rgb: Tensor) -> Tensor:
    """Y of YCbCr in integers, as MATLAB's ``rgb2ycbcr`` computes it from an 8-bit image.

    For ``uint8`` input MATLAB's result is ``uint8`` again, rounded with halves upwards. PSNR and
    SSIM of a deraining paper that evaluates with MATLAB are those of this rounded image. The
    arithmetic is exact, halves included.

    Args:
        rgb: Colour images in the range 0..255, channels in the order RGB, rounded to 8 bits first
            (see :func:`to_8bit`); grey images, which are their own luma.

    Shape:
        - rgb: ``(..., 3, H, W)`` or ``(..., 1, H, W)``
        - result: ``(..., 1, H, W)``

    Returns:
        Integers 16..235 in float64; a grey image rounded to 8 bits.

    Raises:
        ValueError: If there is another number of channels.

    Example:
        >>> import torch
        >>> luma_8bit(torch.tensor([255.0, 0.0, 0.0]).view(3, 1, 1)).item()
        81.0

    Source: ITU-R BT.601; MATLAB's documentation of ``rgb2ycbcr``.
    """
    image = to_8bit(_check_channels(rgb))
    if image.shape[-3] == 1:
        return image
    # Integers below 2**53 are exact in float64, and no quotient is nearer than 1 / (2 * _SCALE)
    # to an integer without being one, so that the division cannot change what floor returns.
    return ((2 * _weighted_sum(image) + _SCALE) / (2 * _SCALE)).floor() + _OFFSET


def _weighted_sum(image: Tensor) -> Tensor:
    red, green, blue = image.unbind(-3)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(-3)


def _check_channels(image: Tensor) -> Tensor:
    if image.dim() < 3 or image.shape[-3] not in (1, 3):
        raise ValueError(
            f'an image must be (..., 3, H, W) or (..., 1, H, W), channels first, got '
            f'{tuple(image.shape)}'
        )
    return image
