"""Which value is white: 255, 1 or 65535, told once from how a restorer normalises its images."""

from typing import Any

# Images scaled to 1, and those of 8, 10, 12, 14 and 16 bits.
WHITES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)


def value_range(data_preprocessor: Any) -> float:
    """Tell the largest value of a data set's images from its preprocessor's ``mean`` and ``std``.

    Normalisations in use have mean 0 and std white, both half of white, a data set's mean and std
    white, or its mean and std: the sum lies between 0.6 and 1.6 times white. What is not normalised
    (no mean and std, or 0 and 1) says nothing.
    """
    said = getattr(data_preprocessor, 'value_range', None)
    if said is not None:
        return float(said)
    mean, std = 0.0, 1.0
    # MMEngine's own record of whether mean and std were given.
    if getattr(data_preprocessor, '_enable_normalize', False):
        mean, std = (
            getattr(data_preprocessor, name).abs().max().item() for name in ('mean', 'std')
        )
    found = [white for white in WHITES if 0.6 * white <= mean + std <= 1.6 * white]
    if not found or (mean, std) == (0.0, 1.0):
        raise ValueError(
            f'data_preprocessor: mean {mean:g} and std {std:g} do not tell which value is white: '
            'give those of the images as they are read (mean=[0, 0, 0], std=[255, 255, 255] for 8 '
            'bits), or value_range=255 to SAMDistillRestorer'
        )
    return found[0]


def require_restorable(white: float) -> None:
    """Refuse a range whose restored images MMagic cuts off: its ``destruct`` clips to 0..255."""
    if white > 255:
        raise ValueError(
            f'white is {white:g} by mean and std of the data_preprocessor, but MMagic clips '
            'restored images to 0..255: load images of 0..1 or 8 bits, and set mean and std to that'
        )
