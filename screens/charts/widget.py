"""A chart for the terminal: lines that grow, drawn in braille."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.strip import Strip

from screens.charts import export as chart_export
from screens.charts.cells import Frame, changes
from screens.charts.colour import style_of
from screens.charts.frame import draw
from screens.charts.picture import ChartMark, Level, Line, Picture
from screens.charts.trace import Tracer
from screens.charts.window import ChartWindow
from screens.preferences import Preferences

__all__ = ["Chart", "ChartMark", "Level", "Line"]
DENSE = 4
"""Points a dot along, from which on the end of the axis is rounded."""


class Chart(ChartWindow, can_focus=True):
    """Shows lines of `Series`, which may still grow: call `redraw` when they have.

    Nothing is drawn again that has not changed. The wheel zooms where the mouse is, dragging pans, a click
    inspects, a double click shows all; the keys are given by the screen's actions, which call the methods.
    """

    DEFAULT_CSS = "Chart { width: 1fr; height: 1fr; min-width: 10; min-height: 3; }"

    title: reactive[str] = reactive("")
    note: reactive[str] = reactive("")
    """Stands beside the title: what is drawn, as `ema 0.9`."""
    axis_label: reactive[str] = reactive("step")
    """`step`, `time` (seconds, shown as a clock) or `tokens`."""
    formatter: reactive[Callable[[float], str] | None] = reactive(None)
    """Values to text with their unit; None shows plain numbers."""
    log_axis: reactive[bool] = reactive(False)
    """A logarithmic upright axis; what is not above 0 is left out, and said so. (`log` is Textual's own.)"""
    from_zero: reactive[bool] = reactive(False)
    """The upright axis starts at zero, as for memory."""
    blocks: reactive[bool | None] = reactive(None)
    """Quadrants for dots, for terminals without braille; None asks the app's preferences."""
    empty: reactive[str] = reactive("Nothing measured yet.")
    """Text while there is nothing to draw."""

    def __init__(self, title: str = "", *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self.set_reactive(Chart.title, title)
        self.levels: tuple[Level, ...] = ()
        self.marks: tuple[ChartMark, ...] = ()
        self._drawn: object = None
        self._whole = True
        """True if all of it is to be drawn again, and not only the cells that change."""
        self._tracer = Tracer()
        self._frame = Frame(())
        self._strips: list[Strip] = []
        self._styles: dict[str, Style] = {}
        self._seen: object = None
        self._size_drawn = Size(0, 0)
        self._grabbed: tuple[int, bool] | None = None

    # What is shown

    def set_lines(self, lines: Sequence[Line]) -> None:
        """Show these lines; the first of the bright ones leads the cursor."""
        self.lines = tuple(lines)
        self._change()

    def set_levels(self, levels: Sequence[Level]) -> None:
        self.levels = tuple(levels)
        self._change()

    def set_marks(self, marks: Sequence[ChartMark]) -> None:
        self.marks = tuple(sorted(marks, key=lambda mark: mark.x))
        self._change()

    def _change(self) -> None:
        """Draw all of it with the next frame: other things may be changed before."""
        if self.is_attached and self._signature() != self._drawn:
            self.refresh()

    def redraw(self) -> None:
        if not self.is_attached:
            return
        now = self._signature()
        if now == self._drawn:
            return
        if not self.display or self.size != self._size_drawn:
            self.refresh()
            return
        before, self._drawn = self._frame, now
        self._draw()
        if self._whole:
            self.refresh()
        elif regions := [Region(x, y, width, 1) for x, y, width in changes(before, self._frame)]:
            self.refresh(*regions)

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        self._whole = self._whole or (repaint and not regions)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _drawn_view(self) -> tuple[float, float]:
        """The view, moved on by less than a dot to a round place where points lie close.

        So they stay where they are while new ones come, and few cells are drawn again.
        """
        x0, x1 = self.view
        dots, (start, end) = self.size.width * 2, self.extent
        points = max((len(line.series) for line in self.lines), default=0) * (x1 - x0) / (end - start)
        if x1 < end or not dots or points < DENSE * dots:
            return x0, x1
        dot = 2.0 ** math.floor(math.log2((x1 - x0) / dots))
        origin = x0 if self._view is None else self._view[1]
        further = origin + math.ceil((x1 - origin) / dot) * dot - x1
        return (x0 if self._view is None else x0 + further), x1 + further

    @property
    def columns(self) -> int:
        return self._frame.width

    def picture(self) -> Picture:
        """The picture to be drawn now."""
        x0, x1 = self._drawn_view()
        return Picture(
            self.lines,
            x0,
            x1,
            self.levels,
            self.marks,
            title=self.title,
            note=self.note,
            axis_label=self.axis_label,
            formatter=self.formatter,
            log=self.log_axis,
            from_zero=self.from_zero,
            blocks=self._in_blocks(),
            cursor=self.cursor,
            empty=self.empty,
        )

    def export(self, folder: Path) -> tuple[Path, Path]:
        """Save what is shown as SVG and CSV; returns their paths. Raises MachineError where that fails."""
        return chart_export.save(self.picture(), folder)

    # Drawing

    def _in_blocks(self) -> bool:
        if self.blocks is not None:
            return self.blocks
        preferences: Preferences = getattr(self.app, "preferences", Preferences())
        return preferences.blocks

    def _signature(self) -> object:
        """Equal to the last one where nothing would look different."""
        points = tuple(line.series.version for line in self.lines)
        return (self.picture(), points, self.size)

    def _looks(self) -> object:
        """Everything that the cells' colours depend on beside the picture."""
        return (self.size, self.has_focus, self.app.theme, self.background_colors[1])

    def render_lines(self, crop: Region) -> list[Strip]:
        if self._whole or self.size != self._size_drawn:
            self._whole = False
            now, looks = self._signature(), self._looks()
            if now != self._drawn or looks != self._seen:
                self._drawn = now
                if looks != self._seen:
                    self._seen, self._strips = looks, []
                    self._styles.clear()
                self._draw()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)

    def _draw(self) -> None:
        before, strips = self._frame.rows, self._strips
        self._size_drawn = self.size
        self._frame = draw(self.picture(), self.size.width, self.size.height, self._tracer)
        self._strips = [
            strips[y]
            if y < min(len(before), len(strips)) and row == before[y]
            else Strip([Segment(text, self._style(key)) for text, key in row], self.size.width)
            for y, row in enumerate(self._frame.rows)
        ]

    def _style(self, key: str) -> Style:
        found = self._styles.get(key)
        if found is None:
            underline = key == "title" and self.has_focus
            found = style_of(key, self.background_colors[1], self.app.theme_variables)
            self._styles[key] = found = found + Style(underline=underline)
        return found

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._seen, self._whole = None, True

    # The mouse

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, 1.25)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 0.8)

    def _wheel(self, event: events.MouseEvent, factor: float) -> None:
        event.stop()
        self.zoom(factor, self._x_at(event.x))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._grabbed = (event.x, False)
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._grabbed and event.x != self._grabbed[0] and self._frame.width:
            self.pan((self._grabbed[0] - event.x) / self._frame.width)
            self._grabbed = (event.x, True)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        dragged = self._grabbed is not None and self._grabbed[1]
        self._grabbed = None
        self.release_mouse()
        if not dragged and self._frame.width:
            self.put_cursor(self._snap(self._x_at(event.x)))

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2:
            self.reset()

    def _x_at(self, column: int) -> float:
        x0, x1 = self.view
        inner = column - self.gutter.left - self._frame.left
        return x0 + (x1 - x0) * min(max((inner + 0.5) / max(1, self._frame.width), 0.0), 1.0)
