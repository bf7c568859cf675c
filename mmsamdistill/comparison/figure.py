"""The comparison figure of a restoration paper: one row an image, one column a method."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmsamdistill.comparison.choices import Box
from mmsamdistill.comparison.columns import DEGRADED, TRUTH, fit_to_size
from mmsamdistill.comparison.layout import FigureStyle, Layout, Rect, RowLayout, lay_out
from mmsamdistill.comparison.lettering import Lettering, wrap_notes
from mmsamdistill.comparison.scores import MINUS
from mmsamdistill.files import write_atomically

FORMATS = ('.png', '.jpg', '.jpeg', '.pdf', '.svg')
# Matplotlib's name of the error maps' colours: dark is right, and brightness alone tells the order.
_COLOUR_MAP = 'inferno'
_SHARE = 99.5  # in per cent: a scale that fits the very worst pixel would leave all others dark
_BOX_COLOURS = ('#ff3b30', '#00c8ff', '#ffcc00')
_TIMES = '\N{MULTIPLICATION SIGN}'
_LINE = 0.9  # points: boxes and the frames of crops


@dataclass(frozen=True)
class FigureRow:
    """One image in all columns.

    Args:
        name: What the row is called.
        pictures: RGB uint8 of shape (H, W, 3) by column; the truth is the last.
        captions: What stands under each column.
        boxes: The crops to zoom into.
    """

    name: str
    pictures: Mapping[str, np.ndarray]
    captions: Mapping[str, str]
    boxes: Sequence[Box] = ()


def draw_comparison(
    rows: Sequence[FigureRow],
    out: str | Path,
    notes: Sequence[str] = (),
    style: FigureStyle | None = None,
) -> None:
    """Draw images under methods, with zoomed crops, error maps and captions.

    Crops are enlarged by a whole factor, each pixel repeated, and lie on whole pixels of the
    figure: what it shows of them is what is in the files.

    Args:
        rows: The images, all with the same columns.
        out: Path of the figure, written atomically; the suffix decides the format, one of
            :data:`FORMATS`.
        notes: Sentences to stand below the figure, before those about crops and error maps.
        style: Size, resolution, fonts, error maps. Default: that of :class:`FigureStyle`.

    Raises:
        ValueError: For another suffix, if there is no row, or if a crop is outside of its image or
            larger than a column.

    Example:
        >>> import tempfile
        >>> picture = np.zeros((8, 8, 3), np.uint8)
        >>> row = FigureRow('cat', {'truth': picture}, {'truth': 'PSNR'}, [Box(0, 0, 4)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_comparison([row], Path(folder, 'figure.pdf'))
        ...     Path(folder, 'figure.pdf').read_bytes()[:4]
        b'%PDF'
    """
    suffix = check_format(out)
    if not rows:
        raise ValueError('a figure needs at least one image')
    for row in rows:
        for box in row.boxes:
            box.check(row.name, row.pictures[TRUTH].shape)
    import matplotlib as mpl

    # Type 42: publishers refuse the Type 3 fonts that are matplotlib's default.
    with mpl.rc_context({'font.family': 'DejaVu Sans', 'pdf.fonttype': 42}):
        figure = _Painter(rows, notes, style or FigureStyle()).paint()
        buffer = io.BytesIO()
        options = {'pil_kwargs': {'quality': 95}} if suffix in ('.jpg', '.jpeg') else {}
        figure.savefig(buffer, format=suffix[1:], dpi=figure.dpi, **options)
    write_atomically(out, buffer.getvalue())


def check_format(out: str | Path) -> str:
    """Give the suffix of a figure's path in lower case; a ValueError if it cannot be written.

    Example:
        >>> check_format('figure.PDF')
        '.pdf'
    """
    suffix = Path(out).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f'{out}: a figure ends in one of {", ".join(FORMATS)}, not in {suffix!r}')
    return suffix


class _Painter:
    def __init__(self, rows: Sequence[FigureRow], notes: Sequence[str], style: FigureStyle) -> None:
        from matplotlib.figure import Figure

        self.rows, self.style = rows, style
        self.columns = list(rows[0].pictures)
        self.errors = self._error_maps() if style.error_maps else []
        # That of the models: beside the degraded image's errors, theirs could all be dark.
        names = [name for name in self.columns if name not in (DEGRADED, TRUTH)] or self.columns
        scaled = [maps[name] for maps in self.errors for name in names if name in maps]
        self.scale = style.error_max or common_scale(scaled)
        # Notes state the crops' factors, and need as many lines as the figure's width leaves them:
        # neither depends on how many lines there are.
        draft = self._lay_out(0)
        self.notes = wrap_notes([*notes, *self._own_notes(draft)], draft.width, style)
        self.layout = self._lay_out(len(self.notes))
        # A Figure of its own instead of pyplot: no global state, no display. The little more than
        # whole pixels keeps rounding from losing one of them.
        size = (self.layout.width + 0.01, self.layout.height + 0.01)
        self.figure = Figure([side / style.dpi for side in size], dpi=style.dpi)
        self.letters = Lettering(self.figure, self.layout, style)

    def paint(self) -> Any:
        # A title over each column; then row after row: its name, its panels, its captions.
        for name, centre in zip(self.columns, self.layout.centres, strict=True):
            self.letters.title(name, centre)
        for index, (row, place) in enumerate(zip(self.rows, self.layout.rows, strict=True)):
            self.letters.name(row.name, place)
            for column, name in enumerate(self.columns):
                self._paint_images(row, place, column)
                if self.errors:
                    self._paint_error(self.errors[index].get(name), place.errors[column])
                centre = self.layout.centres[column]
                self.letters.caption(row.captions.get(name, ''), centre, place.caption)
        self.letters.notes(self.notes)
        return self.figure

    def _paint_images(self, row: FigureRow, place: RowLayout, column: int) -> None:
        picture, whole = row.pictures[self.columns[column]], place.whole[column]
        axes = self._show(fit_to_size(picture, whole.width, whole.height), whole)
        scale = whole.width / picture.shape[1], whole.height / picture.shape[0]
        for number, box in enumerate(row.boxes):
            colour = _BOX_COLOURS[number % len(_BOX_COLOURS)]
            self._mark(axes, box, scale, colour)
            crop, factor = place.crops[number][column], place.factors[number]
            self._frame(crop, colour)
            self._show(box.cut(picture).repeat(factor, 0).repeat(factor, 1), crop)

    def _paint_error(self, errors: np.ndarray | None, rect: Rect) -> None:
        if errors is not None:
            shown = fit_to_size(errors, rect.width, rect.height)
            self._show(shown, rect, cmap=_COLOUR_MAP, vmin=0, vmax=self.scale)
            return
        # The truth has no error: its place tells the scale.
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        bar = Rect(rect.left, rect.top, max(1, rect.width // 12), rect.height)
        colours = ScalarMappable(Normalize(0, self.scale), _COLOUR_MAP)
        colour_bar = self.figure.colorbar(colours, cax=self._axes(bar))
        self.letters.scale(colour_bar, self.scale)

    def _axes(self, rect: Rect) -> Any:
        layout = self.layout
        return self.figure.add_axes(
            (
                rect.left / layout.width,
                1 - (rect.top + rect.height) / layout.height,
                rect.width / layout.width,
                rect.height / layout.height,
            )
        )

    def _show(self, pixels: Any, rect: Rect, **colours: Any) -> Any:
        axes = self._axes(rect)
        axes.imshow(pixels, interpolation='none', aspect='auto', **colours)
        axes.set_axis_off()
        return axes

    def _mark(self, axes: Any, box: Box, scale: tuple[float, float], colour: str) -> None:
        from matplotlib.patches import Rectangle

        corner = box.left * scale[0] - 0.5, box.top * scale[1] - 0.5
        sides = box.size * scale[0], box.size * scale[1]
        # White below the colour, so that it stands out from any picture.
        for edge, width in (('white', 2 * _LINE), (colour, _LINE)):
            axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=edge, linewidth=width))

    def _frame(self, rect: Rect, colour: str) -> None:
        from matplotlib.colors import to_rgb

        # A surface below the crop that sticks out by whole pixels: a line around it could be
        # rounded onto the crop's own pixels.
        line = max(1, self.style.pixels(_LINE))
        sides = rect.width + 2 * line, rect.height + 2 * line
        self._show([[to_rgb(colour)]], Rect(rect.left - line, rect.top - line, *sides))

    def _lay_out(self, lines: int) -> Layout:
        shapes = [row.pictures[TRUTH].shape[:2] for row in self.rows]
        boxes = [row.boxes for row in self.rows]
        return lay_out(shapes, boxes, len(self.columns), lines, self.style)

    def _error_maps(self) -> list[dict[str, np.ndarray]]:
        return [
            {
                name: error_map(picture, row.pictures[TRUTH])
                for name, picture in row.pictures.items()
                if name != TRUTH
            }
            for row in self.rows
        ]

    def _own_notes(self, layout: Layout) -> list[str]:
        zooms = {
            (box.size, factor)
            for row, place in zip(self.rows, layout.rows, strict=True)
            for box, factor in zip(row.boxes, place.factors, strict=True)
        }
        zoom = ', '.join(
            f'{size} {_TIMES} {size} pixels enlarged {factor} times'
            for size, factor in sorted(zooms)
        )
        notes = [f'Zoom: {zoom}, pixels repeated.'] if zooms else []
        if self.errors:
            notes.append(
                f'Error maps: |restored {MINUS} truth|, mean of the channels, in grey levels of '
                f'255; one scale for all, clipped at {self.scale:g}.'
            )
        return notes


def error_map(restored: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Absolute error of every pixel in grey levels, averaged over the channels: ``(H, W)``."""
    if restored.shape != truth.shape:
        raise ValueError(f'images of different shapes: {restored.shape} and {truth.shape}')
    difference = restored.astype(np.float32) - truth.astype(np.float32)
    return np.abs(difference).mean(axis=2, dtype=np.float32)


def common_scale(maps: Sequence[np.ndarray]) -> float:
    """End of a scale that suits several error maps: a whole grey level, at least 1."""
    ends = [float(np.percentile(each, _SHARE)) for each in maps]
    return float(max(1, math.ceil(max(ends, default=1.0))))
