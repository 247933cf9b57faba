"""A screen with several charts, one of which is chosen: what keys do to it."""

from collections.abc import Sequence
from pathlib import Path

from textual import events, work
from textual.message import Message

from engine.errors import FtError
from screens.base import FtScreen
from screens.charts.widget import Chart
from screens.messages import WentWrong


class Exported(Message):
    """A chart is on disk."""

    def __init__(self, files: tuple[Path, Path]) -> None:
        super().__init__()
        self.files = files


class ChartScreen(FtScreen):
    """Zoom, move, inspect and export the chosen chart. The subclass's table of actions gives the keys."""

    def __init__(self) -> None:
        super().__init__()
        self._chosen = 0

    @property
    def charts(self) -> Sequence[Chart]:
        """The charts to choose from, in order."""
        raise NotImplementedError

    def chart_folder(self) -> Path:
        """Where charts are saved."""
        raise NotImplementedError

    @property
    def chart(self) -> Chart:
        """The chosen chart."""
        return self.charts[self._chosen]

    def choose_chart(self, index: int) -> None:
        """Let keys act on this chart; where there is room for one only, it is the one that is seen."""
        self._chosen = index
        for place, chart in enumerate(self.charts):
            chart.set_class(place == index, "-chosen")

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, Chart) and event.widget in self.charts:
            self.choose_chart(list(self.charts).index(event.widget))

    def action_view(self) -> None:
        narrow = self.has_class("-narrow")  # where only the chosen one is displayed
        shown = [
            index
            for index, chart in enumerate(self.charts)
            if chart.display or (narrow and not chart.has_class("-absent"))
        ]
        after = [i for i in shown if i > self._chosen]
        self.choose_chart(after[0] if after else shown[0])
        self.chart.focus()

    def action_zoom_in(self) -> None:
        self.chart.zoom(2.0)

    def action_zoom_out(self) -> None:
        self.chart.zoom(0.5)

    def action_pan_left(self) -> None:
        self._move(-1)

    def action_pan_right(self) -> None:
        self._move(1)

    def _move(self, direction: int) -> None:
        if self.chart.cursor is not None:
            self.chart.move_cursor(direction)
        else:
            self.chart.pan(direction * 0.25)

    def action_reset(self) -> None:
        self.stop_inspecting()
        self.chart.reset()

    def action_inspect(self) -> None:
        self.chart.inspect()

    def on_chart_inspected(self, message: Chart.Inspected) -> None:
        """One cursor for all charts: what happened to the loss is looked up in the others."""
        for chart in self.charts:
            if chart is not message.chart:
                chart.follow_cursor(message.x)

    def stop_inspecting(self) -> None:
        for chart in self.charts:
            chart.inspect(False)

    def action_export(self) -> None:
        self.export(self.chart, self.chart_folder())

    @work(thread=True)
    def export(self, chart: Chart, folder: Path) -> None:
        try:
            files = chart.export(folder)
        except FtError as error:
            self.post_message(WentWrong(error))
        else:
            self.post_message(Exported(files))

    def on_exported(self, message: Exported) -> None:
        svg, csv = message.files
        self.notify(f"{svg}\n{csv.name}", title="Chart saved", markup=False)
