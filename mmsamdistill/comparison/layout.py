"""Where everything in a comparison figure goes, in whole pixels.

Whole pixels, because a zoomed crop is only honest if each of its pixels becomes a square of the
same number of pixels in the figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mmsamdistill.arguments import check_positive
from mmsamdistill.comparison.choices import Box


class Rect(NamedTuple):
    """A rectangle of a figure, in pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class FigureStyle:
    """How a comparison figure looks.

    Args:
        width: Width in inches at most; the figure is as wide as whole multiples of the crops
            allow. Default: 7, about the text width of a paper with two columns.
        dpi: Pixels per inch. Default: 300.
        font: Size of the titles and numbers in points; notes are a point smaller. Default: 7.
        error_maps: Draw ``|restored - truth|`` below the crops. Default: no.
        error_max: End of the error maps' scale in grey levels, for figures that are to be compared
            with each other. Default: chosen from the maps and stated in the figure.
    """

    width: float = 7.0
    dpi: int = 300
    font: float = 7.0
    error_maps: bool = False
    error_max: float | None = None

    def __post_init__(self) -> None:
        check_positive(width=self.width, dpi=self.dpi, font=self.font)
        if self.error_max is not None:
            check_positive(error_max=self.error_max)

    def pixels(self, points: float) -> int:
        """Convert points, 72 to the inch, to whole pixels."""
        return round(points * self.dpi / 72)


@dataclass
class RowLayout:
    """Where one image's panels go; one rectangle a column in each list, crops by box."""

    whole: list[Rect]
    crops: list[list[Rect]]
    factors: list[int]  # by which each box is enlarged
    errors: list[Rect]
    caption: int = 0  # baseline, from the top

    @property
    def height(self) -> int:
        """Height from the top of the whole images to the bottom of the lowest panel."""
        lowest = self.errors or (self.crops[-1] if self.crops else self.whole)
        return max(rect.top + rect.height for rect in lowest) - self.whole[0].top


@dataclass
class Layout:
    """A whole figure, in pixels from the upper left corner."""

    width: int
    height: int
    titles: int  # baseline
    centres: list[int]  # of the columns
    rows: list[RowLayout] = field(default_factory=list)
    notes: int = 0


def lay_out(
    shapes: Sequence[tuple[int, int]],
    boxes: Sequence[Sequence[Box]],
    columns: int,
    note_lines: int,
    style: FigureStyle,
) -> Layout:
    """Place the panels of a figure: of images of these shapes, with these boxes.

    The columns are as wide as the largest whole multiple of a crop that fits, so that the crops of
    one size are as wide as the whole images above them.
    """
    # 1. Sizes in pixels, and the columns from left to right.
    label, gap = style.pixels(style.font + 4), style.pixels(3)
    line, small = style.pixels(1.25 * style.font), style.pixels(1.3 * (style.font - 1))
    available = (round(style.width * style.dpi) - label - gap * columns) // columns
    cell = _cell_width(available, boxes)
    lefts = [label + (cell + gap) * column for column in range(columns)]
    layout = Layout(
        width=lefts[-1] + cell + gap,
        height=0,
        titles=line,
        centres=[left + cell // 2 for left in lefts],
    )
    # 2. The rows from top to bottom, then the notes.
    top = line + style.pixels(3)
    for shape, row_boxes in zip(shapes, boxes, strict=True):
        row = _place_row(shape, row_boxes, lefts, cell, (top, gap), style.error_maps)
        row.caption = top + row.height + line
        layout.rows.append(row)
        top = row.caption + style.pixels(6)
    layout.notes = top
    layout.height = top + small * note_lines + style.pixels(2)
    return layout


def _cell_width(available: int, boxes: Sequence[Sequence[Box]]) -> int:
    # As wide as the largest whole multiple of a crop that fits.
    sizes = {box.size for row in boxes for box in row}
    too_large = [size for size in sizes if size > available]
    if too_large or available < 1:
        raise ValueError(
            f'a crop of {max(too_large, default=0)} pixels does not fit into a column of '
            f'{available}: give smaller crops, fewer columns, or a greater width or dpi'
        )
    return max((size * (available // size) for size in sizes), default=available)


def _place_row(
    shape: tuple[int, int],
    boxes: Sequence[Box],
    lefts: Sequence[int],
    cell: int,
    place: tuple[int, int],
    error_maps: bool,
) -> RowLayout:
    top, gap = place
    height = max(1, round(cell * shape[0] / shape[1]))
    row = RowLayout([Rect(left, top, cell, height) for left in lefts], [], [], [])
    top += height + gap
    for box in boxes:
        factor = cell // box.size
        side = factor * box.size
        row.crops.append([Rect(left + (cell - side) // 2, top, side, side) for left in lefts])
        row.factors.append(factor)
        top += side + gap
    if error_maps:
        row.errors = [Rect(left, top, cell, height) for left in lefts]
    return row
