"""Monitor: a run while it trains, or the machine."""

import time
from collections.abc import Iterable, Sequence

from rich.text import Text
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Log, Static, TabbedContent, TabPane

from screens.charts.widget import Chart
from screens.messages import MachineSampled, RunsChanged, ShowRun
from screens.monitor import status
from screens.monitor.actions import MonitorActions
from screens.monitor.charts import PLACES, MachineSeries, MetricCharts, Options, RunCharts, draw_machine
from screens.monitor.machine import MachinePanel
from screens.monitor.news import NewsPane, SamplesPane
from screens.monitor.run_view import RunView

PAINT_S = 0.1
"""Charts are drawn again this often at most, however fast events come."""
TABS = ("machine-tab", "samples-tab", "metrics-tab", "news-tab", "log-tab")
NO_RUN = (
    "No run is shown. Start one in 4 Recipe, or with ft train in any terminal: it appears here by itself. "
)
LATEST = "[ shows the latest run."


class MonitorScreen(MonitorActions):
    """Shows the run that `show` was given, else the newest that trains, else the machine."""

    SCOPE = "monitor"
    CSS_PATH = "screen.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.machine = MachineSeries()
        self._drawing = RunCharts()
        self._by_hand = False
        """Whether a person chose what is shown: then a run that starts does not take its place."""
        self._last_run: str | None = None
        self._dirty = True
        self._painted = 0.0

    def body(self) -> Iterable[Widget]:
        yield Static(id="headline", markup=False)
        with Container(id="panes"):
            yield Chart(id="first")
            yield Chart(id="memory")
            yield MachinePanel(id="machine")
            yield Chart(id="second")
            yield Chart(id="third")
            yield Chart(id="fourth")
            with TabbedContent(id="tabs", initial="samples-tab"):
                with TabPane("Machine", id="machine-tab"):
                    yield MachinePanel(id="machine-small")
                with TabPane("Samples", id="samples-tab"):
                    yield SamplesPane(id="samples")
                with TabPane("Metrics", id="metrics-tab"):
                    yield MetricCharts(id="metrics")
                with TabPane("Events", id="news-tab"):
                    yield NewsPane(id="news")
                with TabPane("Log", id="log-tab"):
                    yield Log(id="log", max_lines=2000, auto_scroll=True)
        yield Static(id="progress", markup=False)
        yield Static(id="results", markup=False)

    def on_mount(self) -> None:
        self._weight = self.host.preferences.smoothing
        self.options = Options(smoothing=self._weight)
        self._fit_tabs()
        self.run_replaced()
        self._show_something()
        self.set_interval(PAINT_S, self._paint)

    # What is shown

    def show(self, run_id: str) -> None:
        """Show a run, whatever state it is in."""
        self._by_hand = True
        self._open(run_id)

    def on_show_run(self, message: ShowRun) -> None:
        self.show(message.run_id)

    def _show_something(self) -> None:
        """Where nobody has chosen: the newest run that trains, else the machine."""
        live = next((run.id for run in self.host.runs if run.alive), None)
        if live is not None and (self.view is None or (self.view.run_id != live and not self.view.alive)):
            self._open(live)

    def _open(self, run_id: str) -> None:
        """Follow a run, unless it is followed already."""
        if self.view is None or self.view.run_id != run_id or self.view.gone:
            self._last_run = run_id
            self.follow_run(run_id)

    def run_changed(self) -> None:
        self._dirty = True
        if time.monotonic() - self._painted > PAINT_S:
            self.call_next(self._paint)  # what comes alone is seen at once

    def draw_now(self) -> None:
        self._dirty = True
        self._paint()

    def on_chart_moved(self) -> None:
        self._dirty = True

    def run_replaced(self) -> None:
        self.set_class(self.view is None, "-machine")
        self.stop_inspecting()
        self.choose_chart(0)
        for chart in self.charts:
            chart.reset()
        self._drawing.forget()
        self.query_one(MetricCharts).forget()
        self.query_one("#log", Log).clear()
        self.query_one(SamplesPane).show(self.view)
        self.query_one(NewsPane).show(self.view)
        self._dirty = True
        self._paint()
        self.refresh_bindings()

    def log_grew(self, lines: Sequence[str]) -> None:
        self.query_one("#log", Log).write_lines(lines)

    def on_screen_resume(self) -> None:
        self._take_samples()
        self._dirty = True

    def _take_samples(self) -> None:
        """All of them: news replaces news in the queue, and comes only to the screen in front."""
        for sample in self.host.samples:
            self.machine.take(sample)

    def on_machine_sampled(self, message: MachineSampled) -> None:
        self._take_samples()
        for panel in self.query(MachinePanel):
            panel.show(self.host.samples[-60:])
        if self.view is None:
            self._dirty = True

    def on_runs_changed(self, message: RunsChanged) -> None:
        if not self._by_hand:
            self._show_something()

    # Drawing

    @property
    def charts(self) -> list[Chart]:
        places = [self.query_one(f"#{place}", Chart) for place in PLACES]
        seen = self.query_one("#tabs", TabbedContent).active == "metrics-tab"
        return [*places, *(self.query_one(MetricCharts).charts if seen else [])]

    def _paint(self) -> None:
        """Draw what has changed since the last time, if anybody looks."""
        if not self._dirty or self not in self.app.screen_stack:
            return
        self._dirty, self._painted = False, time.monotonic()
        charts, width = self.charts, self.size.width
        headline, progress, results = self._texts(width)
        if headline != self.query_one("#headline", Static).content:
            self.query_one("#headline", Static).update(headline, layout=False)
        self.query_one("#progress", Static).update(progress, layout=self.view is None)
        self.query_one("#results", Static).update(results, layout=False)
        if self.view is None:
            told = draw_machine(self.machine, charts[: len(PLACES)])
            self.set_class(not told, "-bare")
        else:
            self._drawing.draw(self.view, charts[: len(PLACES)], self.options)
            self._show_metrics(self.query_one(MetricCharts).show(self.view, self.options))
            self.query_one(SamplesPane).show(self.view)
            self.query_one(NewsPane).show(self.view)
            self._look_closely(self.view, charts)

    def _show_metrics(self, reported: bool) -> None:
        """Their tab is there only for a run that reports any."""
        tabs = self.query_one("#tabs", TabbedContent)
        if reported:
            tabs.show_tab("metrics-tab")
        else:
            if tabs.active == "metrics-tab":
                tabs.active = "samples-tab"
            tabs.hide_tab("metrics-tab")

    def _look_closely(self, view: RunView, charts: Sequence[Chart]) -> None:
        """Have read again what a chart shows little of, where that is a part of a long run."""
        seen = (chart.view for chart in charts if chart.display and chart.lines)
        parts = (view.series.missing(self.options.axis, *window) for window in seen)
        if part := next((part for part in parts if part), None):
            self.look_closely(part)

    def _texts(self, width: int) -> tuple[Text, Text, Text]:
        if self.view is None:
            hint = NO_RUN + (LATEST if self.host.runs else "")
            return Text(" the machine, live", "bold"), Text(hint), Text("")
        headline = status.headline(self.view)
        for command in self.waiting.values():
            headline.append(f"  {command} is sent …", "not bold")
        if 0 < self.view.share < 1:
            headline.append(f"  reading {self.view.share:.0%}", "not bold dim")
        return headline, status.progress(self.view, width), status.results(self.view, width)

    def on_resize(self) -> None:
        self._fit_tabs()
        self._dirty = True

    def _fit_tabs(self) -> None:
        """Where there is no room for the machine's panel, it is a tab."""
        tabs = self.query_one("#tabs", TabbedContent)
        if self.size.width < 100:
            tabs.show_tab("machine-tab")
        else:
            if tabs.active == "machine-tab":
                tabs.active = "samples-tab"
            tabs.hide_tab("machine-tab")

    # Actions on what is shown; those on the run itself are in `MonitorActions`

    def action_older(self) -> None:
        self._step_through(1)

    def action_newer(self) -> None:
        self._step_through(-1)

    def _step_through(self, by: int) -> None:
        ids = [run.id for run in self.host.runs]
        shown = self.view.run_id if self.view else None
        at = ids.index(shown) + by if shown in ids else 0
        if 0 <= at < len(ids):
            self.show(ids[at])
        else:
            self.notify("There is no other run in this direction.", timeout=2)

    def action_machine(self) -> None:
        self._by_hand = True
        if self.view is not None:
            self.follow_run(None)
        elif self._last_run is not None or self.host.runs:
            self._open(self._last_run or self.host.runs[0].id)

    def action_tab(self) -> None:
        tabs = self.query_one("#tabs", TabbedContent)
        shown = [tab for tab in TABS if tabs.get_tab(tab).display]
        tabs.active = shown[(shown.index(tabs.active) + 1) % len(shown)] if tabs.active in shown else shown[0]
