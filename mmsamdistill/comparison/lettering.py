"""What is written in a comparison figure."""

from collections.abc import Sequence
from typing import Any

from mmsamdistill.comparison.layout import FigureStyle, Layout, RowLayout
from mmsamdistill.comparison.scores import MINUS

_GREY = '0.35'


class Lettering:
    """Writes titles, names, captions and notes, each at its place and short enough for it."""

    def __init__(self, figure: Any, layout: Layout, style: FigureStyle) -> None:
        self.figure, self.layout, self.style = figure, layout, style
        self.small = style.font - 1

    def title(self, text: str, centre: int) -> None:
        """Write a column's title."""
        size = self.style.font + 0.5
        text = shorten(text, self.layout.rows[0].whole[0].width, size, self.style)
        self._write(text, centre, self.layout.titles, size=size, ha='center', weight='bold')

    def name(self, text: str, row: RowLayout) -> None:
        """Write an image's name beside its row, from bottom to top."""
        text = shorten(text, row.height, self.small, self.style)
        middle = row.whole[0].top + row.height / 2
        left = self.style.pixels(1)
        self._write(
            text, left, middle, size=self.small, ha='left', va='center', rotation=90, color=_GREY
        )

    def caption(self, text: str, centre: int, baseline: int) -> None:
        """Write an image's numbers."""
        self._write(text, centre, baseline, size=self.style.font, ha='center')

    def notes(self, lines: Sequence[str]) -> None:
        """Write the notes below everything."""
        step = self.style.pixels(1.3 * self.small)
        for number, line in enumerate(lines):
            baseline = self.layout.notes + step * (number + 0.8)
            self._write(line, self.style.pixels(2), baseline, size=self.small, color=_GREY)

    def scale(self, colour_bar: Any, end: float) -> None:
        """Label a colour bar."""
        colour_bar.set_ticks([0, end / 2, end], labels=['0', f'{end / 2:g}', f'≥ {end:g}'])
        colour_bar.ax.tick_params(labelsize=self.small, length=2, width=0.5, pad=1.5)
        colour_bar.outline.set_linewidth(0.4)
        # Labels at the very ends would stick out of the row.
        labels = colour_bar.ax.get_yticklabels()
        labels[0].set_verticalalignment('bottom')
        labels[-1].set_verticalalignment('top')
        axes, text = colour_bar.ax, f'|restored {MINUS} truth|\nin grey levels'
        looks = {'fontsize': self.small, 'va': 'center', 'ha': 'left', 'color': _GREY}
        axes.text(4.2, 0.5, text, transform=axes.transAxes, **looks)

    def _write(self, text: str, left: float, baseline: float, **looks: Any) -> None:
        looks = {'va': 'baseline', **looks}
        # Names are names: a dollar sign does not begin a formula.
        self.figure.text(
            left / self.layout.width,
            1 - baseline / self.layout.height,
            text,
            parse_math=False,
            **looks,
        )


def shorten(text: str, room: float, size: float, style: FigureStyle) -> str:
    """Replace the middle of a text by dots if it is too long."""
    shown, kept = text, len(text)
    while kept > 2 and _measure(shown, size, style) > room:
        kept -= 1
        shown = f'{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}'
    return shown


def wrap_notes(notes: Sequence[str], width: int, style: FigureStyle) -> list[str]:
    """Break notes into lines of a figure, before there is one to write them into."""
    room = width - style.pixels(4)
    lines: list[str] = []
    line = ''
    for word in ' '.join(notes).split(' '):
        longer = f'{line} {word}' if line else word
        if line and _measure(longer, style.font - 1, style) > room:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line] if line else lines


def _measure(text: str, size: float, style: FigureStyle) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    # In points at 72 dpi, whatever the figure's resolution.
    width = TextToPath().get_text_width_height_descent(text, FontProperties(size=size), False)[0]
    return width * style.dpi / 72
