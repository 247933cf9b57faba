"""Tabs beside the charts: what happened, what the model answers, the engine's log, and what else a run has."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.widgets import Log, TabbedContent, TabPane

from screens.monitor.charts import MetricCharts
from screens.monitor.machine import MachinePanel
from screens.monitor.news import NewsPane, SamplesPane
from screens.monitor.run_view import RunView

PREFERRED = ("samples", "news")
"""Shown where the tab in front goes: the first of them that is there."""
LINES = 2000
"""Lines of the log that are kept."""


class RunTabs(TabbedContent):
    """The tabs of a run; those that it cannot have are hidden."""

    def __init__(self) -> None:
        super().__init__(initial="samples-tab", id="tabs")
        self._offered: dict[str, bool] = {}

    def compose(self) -> ComposeResult:
        for pane in (
            TabPane("Machine", MachinePanel(id="machine-small"), id="machine-tab"),
            TabPane("Samples", SamplesPane(id="samples"), id="samples-tab"),
            TabPane("Metrics", MetricCharts(id="metrics"), id="metrics-tab"),
            TabPane("Events", NewsPane(id="news"), id="news-tab"),
            TabPane("Log", Log(id="log", max_lines=LINES, auto_scroll=True), id="log-tab"),
        ):
            self.compose_add_child(pane)
        yield from super().compose()

    def offer(self, **wanted: bool) -> None:
        """Show or hide tabs by name; where the one in front goes, another takes its place."""
        changed = {name: there for name, there in wanted.items() if self._offered.get(name, True) != there}
        self._offered |= changed
        for name, there in changed.items():
            if there:
                self.show_tab(f"{name}-tab")
            else:
                self.hide_tab(f"{name}-tab")
        if not changed.get(self.active.removesuffix("-tab"), True):
            name = next(name for name in PREFERRED if self._offered.get(name, True))
            self.active = f"{name}-tab"

    def go_on(self) -> None:
        """Go to the next tab that is shown."""
        shown = [str(pane.id) for pane in self.query(TabPane) if self._offered.get(_name(pane), True)]
        at = shown.index(self.active) + 1 if self.active in shown else 0
        self.active = shown[at % len(shown)]

    def clear(self, view: RunView | None) -> None:
        """Begin with another run, or none."""
        self.query_one(MetricCharts).forget()
        self.query_one(Log).clear()
        self.query_one(SamplesPane).show(view)
        self.query_one(NewsPane).show(view)

    def log_more(self, lines: Sequence[str]) -> None:
        """Add lines to the engine's log."""
        self.query_one(Log).write_lines(lines)


def _name(pane: TabPane) -> str:
    return str(pane.id).removesuffix("-tab")
