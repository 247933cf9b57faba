"""Window of a chart and its inspection cursor: zoom, pan and move."""

from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from engine.runs.curves.downsample import Series
from screens.charts.picture import Line


class ChartWindow(Widget):
    """The window on the lines of a chart. The subclass draws what is in it."""

    follow: reactive[bool] = reactive(True)
    """Keep the newest point in sight while zoomed in. Panning back turns it off, panning to the end on."""

    class Moved(Message, namespace="chart"):
        """Another part of the chart is shown: from `x0` to `x1`."""

        def __init__(self, chart: "ChartWindow", x0: float, x1: float) -> None:
            super().__init__()
            self.chart, self.x0, self.x1 = chart, x0, x1

        @property
        def control(self) -> "ChartWindow":
            return self.chart

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, ChartWindow.Moved) and message.chart is self.chart

    class Inspected(Message, namespace="chart"):
        """The cursor stands at `x` now; None: it is gone."""

        def __init__(self, chart: "ChartWindow", x: float | None) -> None:
            super().__init__()
            self.chart, self.x = chart, x

        @property
        def control(self) -> "ChartWindow":
            return self.chart

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, ChartWindow.Inspected) and message.chart is self.chart

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self.lines: tuple[Line, ...] = ()
        self.cursor: float | None = None
        """Position of the inspection cursor on the axis; None where there is none."""
        self._view: tuple[float, float] | None = None

    def redraw(self) -> None:
        """Draw what has changed since the last time, if anything has."""
        raise NotImplementedError

    @property
    def columns(self) -> int:
        """Cells along the axis; 0 before the first drawing."""
        raise NotImplementedError

    @property
    def extent(self) -> tuple[float, float]:
        """The span of x that all lines take."""
        found = [bounds for line in self.lines if (bounds := line.series.bounds())]
        if not found:
            return 0.0, 1.0
        low, high = min(b[0] for b in found), max(b[1] for b in found)
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    @property
    def view(self) -> tuple[float, float]:
        """The span of x that is shown."""
        if self._view is None:
            return self.extent
        low, high = self._view
        end = self.extent[1]
        return (low + end - high, end) if self.follow and end > high else (low, high)

    def zoom(self, factor: float, at: float | None = None) -> None:
        """Show 1/`factor` of what is shown, with `at` staying in its place (the cursor, the newest, the middle)."""
        x0, x1 = self.view
        start, end = self.extent
        if at is None:
            at = (
                self.cursor if self.cursor is not None else x1 if x1 >= end and self.follow else (x0 + x1) / 2
            )
        at = min(max(at, x0), x1)
        width = min((x1 - x0) / factor, end - start) if factor > 0 else x1 - x0
        if width < max(abs(end), 1e-9) * 1e-9:
            return
        low = at - (at - x0) / (x1 - x0) * width
        self._show(low, low + width)

    def pan(self, fraction: float) -> None:
        """Move by a part of what is shown: 0.25 is a quarter to the right, later."""
        x0, x1 = self.view
        self._show(x0 + (x1 - x0) * fraction, x1 + (x1 - x0) * fraction)

    def reset(self) -> None:
        """Show everything, and keep following."""
        self._view, self.follow = None, True
        self._moved()

    def inspect(self, on: bool | None = None) -> None:
        """Show the cursor, or hide it; None turns it over."""
        on = self.cursor is None if on is None else on
        self.put_cursor(None if not on else self._snap(self.view[1] if self.cursor is None else self.cursor))

    def put_cursor(self, x: float | None) -> None:
        """Inspect there; None: no longer."""
        changed, self.cursor = x != self.cursor, x
        self.redraw()
        if changed:
            self.post_message(self.Inspected(self, x))

    def follow_cursor(self, x: float | None) -> None:
        """Show the cursor of another chart, where that part of the axis is in sight here."""
        x0, x1 = self.view
        self.cursor = x if x is not None and x0 <= x <= x1 else None
        self.redraw()

    def move_cursor(self, columns: int) -> None:
        """Move the cursor by columns, onto the nearest point, or to the next where points are further apart."""
        if self.cursor is None:
            self.inspect(True)
            return
        x0, x1 = self.view
        wanted = self.cursor + columns * (x1 - x0) / max(1, self.columns)
        found = self._snap(wanted)
        series = self._leader()
        if series and columns and (found - self.cursor) * columns <= 0:
            point = (series.after if columns > 0 else series.before)(self.cursor)
            found = point[0] if point else self.cursor
        if found < x0:
            self._show(found, found + x1 - x0)
        elif found > x1:
            self._show(found - (x1 - x0), found)
        self.put_cursor(found)

    def _show(self, low: float, high: float) -> None:
        start, end = self.extent
        width = high - low
        if low <= start and high >= end:
            self._view = None
        else:
            low = min(max(low, start), max(start, end - width))
            self._view = (low, low + width)
        self.follow = self._view is None or self._view[1] >= end - width * 1e-9
        self._moved()

    def _moved(self) -> None:
        self.redraw()
        self.post_message(self.Moved(self, *self.view))

    def _leader(self) -> Series | None:
        bright = [line for line in self.lines if line.style == "smooth"] or list(self.lines)
        return bright[0].series if bright else None

    def _snap(self, x: float) -> float:
        series = self._leader()
        point = series.nearest(x) if series else None
        return point[0] if point else x
