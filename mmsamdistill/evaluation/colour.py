"""Pixel values as the evaluation scripts of the papers see them."""

from torch import Tensor

# Luma of ITU-R BT.601 in studio range, in thousandths: Y = 16 + (65.481 R + ...) / 255.
_LUMA = (65481, 128553, 24966)
_SCALE = 255_000
_OFFSET = 16


def to_8bit(image: Tensor) -> Tensor:
    """Pixel values in 0..255 as an 8-bit file has them, in float64; NaN stays NaN."""
    # Halves to even, as cv2.imwrite of floats, skimage.img_as_ubyte and BasicSR's tensor2img.
    return image.double().clamp(0, 255).round()


def luma(rgb: Tensor) -> Tensor:
    """Y of YCbCr, ``(..., 1, H, W)`` in 16..235, not rounded, as BasicSR and MMagic have it."""
    image = _check_channels(rgb).double()
    # A grey image is its own luma.
    return image if image.shape[-3] == 1 else _weighted_sum(image) / _SCALE + _OFFSET


def luma_8bit(rgb: Tensor) -> Tensor:
    """Y of YCbCr in integers, halves upwards, as MATLAB's ``rgb2ycbcr`` gives of 8-bit images."""
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
            f'an image must be (..., 3, H, W) or (..., 1, H, W), got {tuple(image.shape)}'
        )
    return image
