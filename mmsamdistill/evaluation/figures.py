"""The comparison figure of a restoration paper: one row an image, one column a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]


def most_different_box(first: np.ndarray, second: np.ndarray, size: int = 64) -> Box:
    """Find the square in which two images differ most.

    Choosing crops by hand invites choosing the ones that flatter; this is a rule that anyone can
    repeat.

    Args:
        first: Image of shape (H, W, 3).
        second: Image of the same shape.
        size: Side of the square in pixels; cut to the image's size.

    Returns:
        ``(left, top, width, height)`` of the square with the largest mean absolute difference.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> a = np.zeros((8, 8, 3)); b = a.copy(); b[4:6, 2:4] = 1
        >>> most_different_box(a, b, size=2)
        (2, 4, 2, 2)

    Source: ours.
    """
    if first.shape != second.shape:
        raise ValueError(f'images of different shapes: {first.shape} and {second.shape}')
    difference = np.abs(first.astype(np.float64) - second.astype(np.float64)).mean(axis=2)
    height, width = (min(size, side) for side in difference.shape)
    # Summed-area table: each window's total in four look-ups, exact for integer images.
    table = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    totals = (
        table[height:, width:]
        - table[:-height, width:]
        - table[height:, :-width]
        + table[:-height, :-width]
    )
    top, left = np.unravel_index(totals.argmax(), totals.shape)
    return int(left), int(top), int(width), int(height)


def draw_comparison(
    images: Mapping[str, Mapping[str, np.ndarray]],
    captions: Mapping[str, Mapping[str, str]],
    boxes: Mapping[str, Box],
    out: str | Path,
) -> None:
    """Draw every image under every method, with a zoomed crop and a caption below it.

    Args:
        images: ``images[name][method]``, RGB uint8 of shape (H, W, 3); methods in column order.
        captions: ``captions[name][method]``, written under the crop.
        boxes: ``boxes[name]``, the crop as (left, top, width, height) in pixels.
        out: Path of the figure; the suffix decides the format.

    Example:
        >>> import tempfile
        >>> picture = np.zeros((8, 8, 3), np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_comparison(
        ...         {'cat': {'truth': picture}},
        ...         {'cat': {'truth': ''}},
        ...         {'cat': (0, 0, 4, 4)},
        ...         Path(folder, 'figure.png'),
        ...     )
        ...     Path(folder, 'figure.png').exists()
        True
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    methods = list(next(iter(images.values())))
    heights = [h for name in images for h in _row_heights(images[name], boxes[name])]
    # A Figure of its own instead of pyplot: no global state, no display.
    figure = Figure(figsize=(2.6 * len(methods), 2.6 * sum(heights) + 0.5 * len(images)))
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        2 * len(images), len(methods), squeeze=False, gridspec_kw={'height_ratios': heights}
    )
    with mpl.rc_context({'font.size': 9}):
        for row, (name, columns) in enumerate(images.items()):
            for column, method in enumerate(methods):
                whole, crop = axes[2 * row, column], axes[2 * row + 1, column]
                _draw_cell(whole, crop, columns[method], boxes[name])
                crop.set_xlabel(captions[name][method])
                if row == 0:
                    whole.set_title(method)
            axes[2 * row, 0].set_ylabel(name)
    figure.subplots_adjust(0.03, 0.04, 0.995, 0.96, wspace=0.03, hspace=0.08)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)


def _row_heights(columns: Mapping[str, np.ndarray], box: Box) -> Sequence[float]:
    picture = next(iter(columns.values()))
    return picture.shape[0] / picture.shape[1], box[3] / box[2]


def _draw_cell(whole: Any, crop: Any, picture: np.ndarray, box: Box) -> None:
    from matplotlib.patches import Rectangle

    left, top, width, height = box
    whole.imshow(picture)
    whole.add_patch(
        Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor='yellow', lw=1.2)
    )
    crop.imshow(picture[top : top + height, left : left + width], interpolation='nearest')
    for axis in (whole, crop):
        axis.set_xticks([])
        axis.set_yticks([])
