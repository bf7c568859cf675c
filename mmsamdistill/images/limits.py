"""How large an image may claim to be: looked at before memory is asked for."""

from __future__ import annotations

from pathlib import Path

MAX_PIXELS = 1 << 29
"""Half of what OpenCV decodes at all: 512 megapixels, of which a label map takes 2 GiB."""


def check_pixels(height: int, width: int, path: str | Path) -> None:
    """Refuse an image that claims more than :data:`MAX_PIXELS`, or none at all."""
    if min(height, width) < 1:
        raise ValueError(f'{path} is damaged: it claims to be {height} x {width} pixels')
    if height * width > MAX_PIXELS:
        raise ValueError(
            f'{path} claims to be {height} x {width} pixels, more than {MAX_PIXELS:,}: it is '
            f'damaged, or has to be cut'
        )
