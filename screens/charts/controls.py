"""Keys of a screen with charts: one chart is chosen, and they zoom, move, inspect and export it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from textual.message import Message

from engine.errors import FtError
from engine.runs.curves.series import AXES, AxisName
from screens.base import FtScreen
from screens.charts.widget import Chart
from screens.messages import WentWrong

Screen = TypeVar("Screen", bound=FtScreen)
PAN = 0.25
"""Share of the window that a chart moves by at a key."""
SMOOTHINGS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Weights of the past that keys step through."""


class Exported(Message):
    """A chart is on disk, as SVG and CSV."""

    def __init__(self, files: tuple[Path, Path]) -> None:
        super().__init__()
        self.files = files


class ChartControls:
    """Acts on the charts of a screen. The screen has an `action_…` for each of its keys, which calls it;
    `with_chart_keys` makes those that are the same everywhere."""

    def __init__(self, screen: FtScreen, charts: Callable[[], Sequence[Chart]]) -> None:
        """`charts` gives the charts to choose from, in order."""
        self._screen = screen
        self._charts = charts
        self._chosen = 0

    @property
    def charts(self) -> Sequence[Chart]:
        """The charts to choose from, in order."""
        return self._charts()

    @property
    def chart(self) -> Chart:
        """The chosen chart; the last one where the chosen is no longer there."""
        charts = self.charts
        return charts[min(self._chosen, len(charts) - 1)]

    def choose(self, index: int) -> None:
        """Let keys act on this chart; where there is room for one only, it is the one shown."""
        self._chosen = index
        for place, chart in enumerate(self.charts):
            chart.set_class(place == index, "-chosen")

    def focused(self, widget: object) -> None:
        """Choose the chart that has the focus now, if it is one of these."""
        for index, chart in enumerate(self.charts):
            if chart is widget:
                self.choose(index)

    def choose_next(self) -> None:
        """Choose and focus the next chart that can be shown."""
        narrow = self._screen.has_class("-narrow")  # where only the chosen one is displayed
        shown = [
            index
            for index, chart in enumerate(self.charts)
            if chart.display or (narrow and not chart.has_class("-absent"))
        ]
        after = [i for i in shown if i > self._chosen]
        self.choose(after[0] if after else shown[0])
        self.chart.focus()

    def zoom_in(self) -> None:
        """Show half as much."""
        self.chart.zoom(2.0)

    def zoom_out(self) -> None:
        """Show twice as much."""
        self.chart.zoom(0.5)

    def move(self, direction: int) -> None:
        """Move the cursor that inspects, or else the window, by one to the left (-1) or right (1)."""
        if self.chart.cursor is not None:
            self.chart.move_cursor(direction)
        else:
            self.chart.pan(direction * PAN)

    def inspect(self) -> None:
        """Show a cursor that reads values, or remove it."""
        self.chart.inspect()

    def share_cursor(self, message: Chart.Inspected) -> None:
        """Use one cursor for all charts: what happened to the loss is looked up in the others."""
        for chart in self.charts:
            if chart is not message.chart:
                chart.follow_cursor(message.x)

    def stop_inspecting(self) -> None:
        """Remove the cursor from all charts."""
        for chart in self.charts:
            chart.inspect(False)

    def reset(self) -> None:
        """Show all of the chosen chart, without a cursor."""
        self.stop_inspecting()
        self.chart.reset()

    def export(self, folder: Path) -> None:
        """Save the chosen chart below `folder` in a thread; `Exported` or `WentWrong` is posted to the screen."""
        self._screen.run_worker(partial(self._write, self.chart, folder), thread=True, group="export")

    def _write(self, chart: Chart, folder: Path) -> None:
        try:
            files = chart.export(folder)
        except FtError as error:
            self._screen.post_message(WentWrong(error))
        else:
            self._screen.post_message(Exported(files))


KEYS: Mapping[str, Callable[[ChartControls], None]] = {
    "zoom_in": ChartControls.zoom_in,
    "zoom_out": ChartControls.zoom_out,
    "pan_left": lambda controls: controls.move(-1),
    "pan_right": lambda controls: controls.move(1),
    "reset": ChartControls.reset,
    "inspect": ChartControls.inspect,
}
"""Actions that are the same on every screen with charts."""


def with_chart_keys(screen: type[Screen]) -> type[Screen]:
    """Give a screen's class, which has `controls`, an `action_…` for each of `KEYS`."""
    for name, act in KEYS.items():

        def action(self: Any, act: Callable[[ChartControls], None] = act) -> None:
            act(self.controls)

        setattr(screen, f"action_{name}", action)
    return screen


def next_axis(axis: AxisName) -> AxisName:
    """The x axis after this one."""
    return AXES[(AXES.index(axis) + 1) % len(AXES)]


def smoother(weight: float) -> float:
    """The next weight of the past that smooths more; the largest where there is none."""
    return next((w for w in SMOOTHINGS if w > weight), SMOOTHINGS[-1])


def rougher(weight: float) -> float:
    """The next weight of the past that smooths less; 0 where there is none."""
    return next((w for w in reversed(SMOOTHINGS) if w < weight), SMOOTHINGS[0])
