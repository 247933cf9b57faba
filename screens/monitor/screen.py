"""Monitor: a run while it trains, or the machine."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.text import Text
from textual import events, on, work
from textual.containers import Container
from textual.getters import query_one
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import get_current_worker

from engine import paths
from engine.runs.curves import zoom
from engine.runs.curves.series import RunSeries
from engine.runs.directory.control import Command
from engine.runs.directory.registry import name_in
from screens.base import FtScreen
from screens.charts.controls import ChartControls, Exported, next_axis, rougher, smoother, with_chart_keys
from screens.charts.widget import Chart
from screens.intents import ChatWith, Intent, ShowRun
from screens.messages import MachineSampled, RunsChanged
from screens.monitor import status, tail
from screens.monitor.charts import PLACES, MachineSeries, MetricCharts, Options, RunCharts, draw_machine
from screens.monitor.follow import RunFollower
from screens.monitor.job_page import JobPage, copyable
from screens.monitor.machine import MachinePanel
from screens.monitor.news import NewsPane, SamplesPane
from screens.monitor.offers import OF_RUN, offered
from screens.monitor.run_messages import FromRun
from screens.monitor.run_view import RunView
from screens.monitor.tabs import RunTabs
from screens.widgets.confirm import Confirm

PAINT_S = 0.1
"""Charts are drawn again this often at most, however fast events come."""
NARROW = 100
"""Columns under which the machine's panel is a tab."""
NO_RUN = "No run is shown. Start one in 4 Recipe, or with ft train in any terminal; it appears here. "
LATEST = "[ shows the latest run."


@with_chart_keys
class MonitorScreen(FtScreen):
    """Shows the run that `show` was given, else the newest that trains, else the machine."""

    SCOPE = "monitor"
    CSS_PATH = "screen.tcss"
    tabs = query_one(RunTabs)

    def __init__(self) -> None:
        super().__init__()
        self.follower = RunFollower()
        self.controls = ChartControls(self, lambda: self.charts)
        self.options = Options()
        self.machine = MachineSeries()
        self._drawing = RunCharts()
        self._by_hand = False
        """True if a person chose what is shown: then a run that starts does not take its place."""
        self._last_run: str | None = None
        self._dirty = True
        self._painted = 0.0

    def body(self) -> Iterable[Widget]:
        yield Static(id="headline", markup=False)
        with Container(id="panes"):
            yield Chart(id="first")
            yield Chart(id="memory")
            yield JobPage(id="job")
            yield MachinePanel(id="machine")
            yield Chart(id="second")
            yield Chart(id="third")
            yield Chart(id="fourth")
            yield RunTabs()
        yield Static(id="progress", markup=False)
        yield Static(id="results", markup=False)

    def on_mount(self) -> None:
        self.options = Options(smoothing=self.host.preferences.smoothing)
        self.tabs.offer(machine=self.size.width < NARROW)
        self._begin_drawing()
        self._show_something()
        self.set_interval(PAINT_S, self._paint)

    # What is shown

    @property
    def view(self) -> RunView | None:
        """The run that is shown."""
        return self.follower.view

    def show(self, run_id: str) -> None:
        """Show a run, whatever state it is in."""
        self._by_hand = True
        self._open(run_id)

    def receive(self, intent: Intent) -> None:
        match intent:
            case ShowRun(run_id):
                self.show(run_id)
            case _:
                super().receive(intent)

    def _show_something(self) -> None:
        """Show the newest run that trains, where nobody has chosen."""
        live = next((run.id for run in self.host.runs if run.alive and run.kind == "train"), None)
        if live is not None and (self.view is None or (self.view.run_id != live and not self.view.alive)):
            self._open(live)

    def _open(self, run_id: str) -> None:
        """Follow a run, unless it is followed already."""
        if self.view is None or self.view.run_id != run_id or self.view.gone:
            self._last_run = run_id
            self._follow(run_id)

    def _follow(self, run_id: str | None) -> None:
        """Follow another run, or none."""
        token = self.follower.start(run_id)
        self.host.engine_pid = None
        self.workers.cancel_group(self, "follow")
        if run_id is not None:
            self._read_run(run_id, token)
        self._begin_drawing()

    @work(thread=True, exclusive=True, group="follow")
    def _read_run(self, run_id: str, token: int) -> None:
        cancelled = get_current_worker().cancelled_event
        tail.follow(run_id, token, self.host.preferences.smoothing, self.post_message, cancelled)

    @work(thread=True, group="part")
    def _read_part(self, run_id: str, token: int, part: zoom.Part, series: RunSeries) -> None:
        cancelled, weight = get_current_worker().cancelled_event, self.host.preferences.smoothing
        tail.read_part(run_id, token, part, series, weight, self.post_message, cancelled)

    @on(FromRun)
    def _take(self, message: FromRun) -> None:
        change = self.follower.take(message)
        if change is None:
            return
        self.host.engine_pid = self.follower.engine_pid
        if change.log:
            self.tabs.log_more(change.log)
        for command in change.acknowledged:
            self.notify(f"{command}: accepted", timeout=3)
        if change.error is not None:
            self.host.fail(change.error)
        if change.replaced:
            self._begin_drawing()
        elif change.status:
            self._show_job()
            self.refresh_bindings()
        self._draw_soon()

    def on_screen_resume(self) -> None:
        self._take_samples()
        self._dirty = True

    def _take_samples(self) -> None:
        """Take all of them: news replaces news in the queue, and comes only to the screen in front."""
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
        seen = self.tabs.active == "metrics-tab"
        return [*places, *(self.query_one(MetricCharts).charts if seen else [])]

    def _begin_drawing(self) -> None:
        """Draw from nothing: what was shown no longer holds."""
        self.set_class(self.view is None, "-machine")
        self._show_job()
        self.controls.stop_inspecting()
        self.controls.choose(0)
        for chart in self.charts:
            chart.reset()
        self._drawing.forget()
        self.tabs.clear(self.view)
        self._draw_now()
        self.refresh_bindings()

    def _show_job(self) -> None:
        """Have the page of a job in the charts' place, and the keys that scroll go to it."""
        if self.follower.is_job and not self.has_class("-job"):
            self.set_focus(self.query_one(JobPage))
        self.set_class(self.follower.is_job, "-job")

    def _draw_soon(self) -> None:
        """Draw with the next frame; what comes alone is drawn immediately."""
        self._dirty = True
        if time.monotonic() - self._painted > PAINT_S:
            self.call_next(self._paint)

    def _draw_now(self) -> None:
        self._dirty = True
        self._paint()

    def on_chart_moved(self) -> None:
        self._dirty = True

    def _paint(self) -> None:
        """Draw what has changed since the last time, if the screen is in front."""
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
            drawn = draw_machine(self.machine, charts[: len(PLACES)])
            self.set_class(not drawn, "-bare")
            return
        self.query_one(NewsPane).show(self.view)
        if self.follower.is_job:
            self.tabs.offer(samples=False, metrics=False)
            self.query_one(JobPage).show(self.view)
        else:
            self._drawing.draw(self.view, charts[: len(PLACES)], self.options)
            reported = self.query_one(MetricCharts).show(self.view, self.options)
            self.tabs.offer(samples=True, metrics=reported)
            self.query_one(SamplesPane).show(self.view)
            self._look_closely(self.view, charts)

    def _look_closely(self, view: RunView, charts: Sequence[Chart]) -> None:
        """Have steps read again where a chart is zoomed into a long run; one part at a time."""
        seen = (chart.view for chart in charts if chart.display and chart.lines)
        parts = (view.series.missing(self.options.axis, *window) for window in seen)
        part = next((part for part in parts if part), None)
        if part and not any(worker.group == "part" and worker.is_running for worker in self.workers):
            self._read_part(view.run_id, self.follower.token, part, view.series.again(part))

    def _texts(self, width: int) -> tuple[Text, Text, Text]:
        if self.view is None:
            hint = NO_RUN + (LATEST if self.host.runs else "")
            return Text(" the machine, live", "bold"), Text(hint), Text("")
        headline = status.headline(self.view)
        for command in self.follower.waiting.values():
            headline.append(f"  {command} sent …", "not bold")
        if 0 < self.view.share < 1:
            headline.append(f"  reading {self.view.share:.0%}", "not bold dim")
        return headline, status.progress(self.view, width), status.results(self.view, width)

    def on_resize(self) -> None:
        self.tabs.offer(machine=self.size.width < NARROW)
        self._dirty = True

    # Actions: which run is shown

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
            self.notify("There are no more runs in this direction.", timeout=2)

    def action_machine(self) -> None:
        self._by_hand = True
        if self.view is not None:
            self._follow(None)
        elif self._last_run is not None or self.host.runs:
            self._open(self._last_run or self.host.runs[0].id)

    def action_tab(self) -> None:
        self.tabs.go_on()

    # Actions: the run itself

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done with what is shown is offered."""
        if action in OF_RUN:
            return offered(action, self.view)
        if action == "machine":
            return self.view is not None or bool(self.host.runs)
        return super().check_action(action, parameters)

    @work(thread=True)
    def _send(self, run_id: str, command: Command, token: int) -> None:
        tail.send(run_id, command, token, self.post_message)

    def _tell_engine(self, command: Command) -> None:
        if self.view is not None:
            self._send(self.view.run_id, command, self.follower.token)

    def action_pause(self) -> None:
        if self.view is not None:
            self._tell_engine("resume" if self.view.state.status == "paused" else "pause")

    def action_save(self) -> None:
        self._tell_engine("save")

    @work
    async def action_stop(self) -> None:
        view = self.view
        if view is None:
            return
        name, run = name_in(view.run_id), next((run for run in self.host.runs if run.id == view.run_id), None)
        question, details = f"Stop training {name}?", "It saves a checkpoint and ends. r resumes from there."
        if run is not None and run.kind != "train":
            question, details = f"Stop {name}?", "r starts it again."
        if await self.app.push_screen_wait(Confirm(question, "Stop", details)) and self.view is view:
            self._tell_engine("stop")

    @work(group="resume", exclusive=True)
    async def action_resume(self) -> None:
        if self.view is not None:
            await self.host.resume_run(self.view.run_id)

    def action_copy(self) -> None:
        found = copyable(self.view) if self.view is not None else None
        if found is not None:
            self.app.copy_to_clipboard(found[0])
            self.notify(found[0], title=f"Copied {found[1]}", timeout=4)

    def action_chat(self) -> None:
        if self.view is not None:
            self.host.open(ChatWith(self.view.run_id))

    # Actions: the charts

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.controls.focused(event.widget)

    def on_chart_inspected(self, message: Chart.Inspected) -> None:
        self.controls.share_cursor(message)

    def on_exported(self, message: Exported) -> None:
        self.notify("\n".join(map(str, message.files)), title="Chart saved")

    def action_view(self) -> None:
        self.controls.choose_next()

    def action_export(self) -> None:
        folder: Path = paths.home() / "charts" / (self.view.run_id if self.view else "machine")
        self.controls.export(folder)

    def action_log(self) -> None:
        self._draw_with(replace(self.options, log=not self.options.log))

    def action_axis(self) -> None:
        self._draw_with(replace(self.options, axis=next_axis(self.options.axis)))
        for chart in self.charts:
            chart.reset()

    def action_smoother(self) -> None:
        self._smooth(smoother(self.host.preferences.smoothing))

    def action_rougher(self) -> None:
        self._smooth(rougher(self.host.preferences.smoothing))

    @work(exclusive=True, group="smooth")
    async def _smooth(self, weight: float) -> None:
        """Draw with this weight once all is smoothed with it: a portion of a long run at a time."""
        self.host.change(smoothing=weight)
        if self.view is not None:
            for _ in self.view.smoothing(weight):
                await asyncio.sleep(0)
        self._draw_with(replace(self.options, smoothing=weight))

    def _draw_with(self, options: Options) -> None:
        self.options = options
        self._draw_now()
