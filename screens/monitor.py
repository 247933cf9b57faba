"""Monitor: a run while it trains, or the machine."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.containers import Container
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Log, Static, TabbedContent, TabPane
from textual.worker import get_current_worker

from engine import paths
from engine.errors import FtError
from engine.runs.events import Acknowledged, Event, Started
from engine.runs.run import Run
from engine.runs.series import AXES
from engine.runs.state import RunState
from engine.training import control
from screens import follow, run_status
from screens.chart_screen import ChartScreen
from screens.messages import MachineSampled, RunsChanged, ShowRun, WentWrong
from screens.run_charts import PLACES, MachineSeries, Options, RunCharts, draw_machine
from screens.run_view import RunView
from screens.widgets.chart import Chart
from screens.widgets.confirm import Confirm
from screens.widgets.machine import MachinePanel
from screens.widgets.run_news import NewsPane, SamplesPane

SMOOTHINGS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
PAINT_S = 0.1
"""Charts are drawn again this often at most, however fast events come."""
TABS = ("machine-tab", "samples-tab", "news-tab", "log-tab")
NO_RUN = (
    "No run is shown. Start one in 4 Recipe, or with: ft train    [ shows the latest run. "
    "A run that starts anywhere on this machine appears here by itself."
)


class CommandSent(Message):
    """A command lies in the run's folder; the engine will acknowledge it by this id."""

    def __init__(self, command_id: str, command: control.Command) -> None:
        super().__init__()
        self.command_id = command_id
        self.command = command


class MonitorScreen(ChartScreen):
    """Shows the run that `show` was given, else the newest that trains, else the machine."""

    SCOPE = "monitor"
    CSS_PATH = "monitor.tcss"
    RUN_ACTIONS: ClassVar[frozenset[str]] = frozenset({"chat", "log", "axis", "smoother", "rougher", "tab"})

    def __init__(self) -> None:
        super().__init__()
        self.view: RunView | None = None
        self.machine = MachineSeries()
        self.options = Options()
        self._drawing = RunCharts()
        self._token = 0
        self._by_hand = False
        """Whether a person chose what is shown: then a run that starts does not take its place."""
        self._last_run: str | None = None
        self._waiting: dict[str, str] = {}
        """Commands by their ids that the engine has not acknowledged."""
        self._dirty = True

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
                with TabPane("Events", id="news-tab"):
                    yield NewsPane(id="news")
                with TabPane("Log", id="log-tab"):
                    yield Log(id="log", max_lines=2000, auto_scroll=True)
        yield Static(id="progress", markup=False)
        yield Static(id="results", markup=False)

    def on_mount(self) -> None:
        self.options = Options(smoothing=self.host.preferences.smoothing)
        self.choose_chart(0)
        self._fit_tabs()
        for sample in self.host.samples:
            self.machine.take(sample)
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
        elif self.view is None:
            self._show_machine()

    def _open(self, run_id: str) -> None:
        if self.view is not None and self.view.run_id == run_id and not self.view.gone:
            return
        self._token += 1
        self._last_run = run_id
        self.view = RunView(run_id)
        self._waiting.clear()
        self.remove_class("-machine")
        self.stop_inspecting()
        for chart in self.charts:
            chart.reset()
        self.query_one("#log", Log).clear()
        self._refresh_panes()
        self.follow_run(run_id, self._token)

    def _show_machine(self) -> None:
        self._token += 1
        self.workers.cancel_group(self, "follow")
        self.view = None
        self.host.engine_pid = None
        self.add_class("-machine")
        self.stop_inspecting()
        for chart in self.charts:
            chart.reset()
        self._refresh_panes()

    def _refresh_panes(self) -> None:
        view = self.view
        self.query_one(SamplesPane).show(view)
        self.query_one(NewsPane).show(view)
        self._dirty = True
        self._paint()
        self.refresh_bindings()

    # What workers tell

    @work(thread=True, exclusive=True, group="follow")
    def follow_run(self, run_id: str, token: int) -> None:
        worker = get_current_worker()
        follow.follow(run_id, token, self.post_message, worker.cancelled_event)

    def on_events_read(self, message: follow.EventsRead) -> None:
        if self.view is not None and message.token == self._token:
            before = self.view.state
            for event in message.events:
                self.view.take(event)
                self._notice(event)
            self.view.share = message.share
            self._changed(before)
        message.taken.set()

    def on_started_over(self, message: follow.StartedOver) -> None:
        if self.view is not None and message.token == self._token:
            self.view = RunView(self.view.run_id, alive=self.view.alive, plan=self.view.plan)
            self._refresh_panes()

    def on_liveness(self, message: follow.Liveness) -> None:
        if self.view is not None and message.token == self._token:
            before = self.view.state
            self.view.alive = message.alive
            if not message.alive:
                self._waiting.clear()
            self._changed(before)

    def on_plan_read(self, message: follow.PlanRead) -> None:
        if self.view is not None and message.token == self._token:
            self.view.plan = message.plan
            self._dirty = True

    def on_log_read(self, message: follow.LogRead) -> None:
        if message.token == self._token:
            self.query_one("#log", Log).write_lines(message.lines)

    def on_run_gone(self, message: follow.RunGone) -> None:
        if self.view is None or message.token != self._token:
            return
        if message.error is not None:
            self.host.fail(message.error)
        self.view.gone, self.view.alive = True, False
        self._refresh_panes()

    def on_machine_sampled(self, message: MachineSampled) -> None:
        self.machine.take(message.sample)
        for panel in self.query(MachinePanel):
            panel.show(self.host.samples[-60:])
        if self.view is None:
            self._dirty = True

    def on_runs_changed(self, message: RunsChanged) -> None:
        if not self._by_hand:
            self._show_something()

    def _changed(self, before: RunState) -> None:
        view = self.view
        assert view is not None
        self._dirty = True
        self.host.engine_pid = view.pid if view.alive else None
        if view.state.status != before.status:
            self.refresh_bindings()

    def _notice(self, event: Event) -> None:
        """Say that a command which was sent from here has been taken."""
        if isinstance(event, Acknowledged) and self._waiting.pop(event.id, None) is not None:
            self.notify(f"{event.command}: understood", timeout=3)
        elif isinstance(event, Started):
            self._waiting.clear()

    # Drawing

    @property
    def charts(self) -> list[Chart]:
        return [self.query_one(f"#{place}", Chart) for place in PLACES]

    def _paint(self) -> None:
        """Draw what has changed since the last time, if anybody looks."""
        if not self._dirty or not self.is_attached:
            return
        self._dirty = False
        charts, width = self.charts, self.size.width
        headline, progress, results = self._texts(width)
        self.query_one("#headline", Static).update(headline)
        self.query_one("#progress", Static).update(progress)
        self.query_one("#results", Static).update(results)
        if self.view is None:
            self._drawing.forget()
            draw_machine(self.machine, charts)
        else:
            self._drawing.draw(self.view, charts, self.options)
            self.query_one(SamplesPane).show(self.view)
            self.query_one(NewsPane).show(self.view)

    def _texts(self, width: int) -> tuple[Text, Text, Text]:
        if self.view is None:
            return Text(" the machine, live", "bold"), Text(f" {NO_RUN}", no_wrap=False), Text("")
        headline = run_status.headline(self.view)
        for command in self._waiting.values():
            headline.append(f"  {command} is sent …", "not bold")
        if 0 < self.view.share < 1:
            headline.append(f"  reading {self.view.share:.0%}", "not bold dim")
        return headline, run_status.progress(self.view, width), run_status.results(self.view, width)

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

    # Actions on the run

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        view = self.view
        if action in ("pause", "save", "stop"):
            return view is not None and bool(view.alive)
        if action == "resume":
            return view is not None and view.alive is False and not view.gone
        if action in self.RUN_ACTIONS:
            return view is not None
        return super().check_action(action, parameters)

    def action_pause(self) -> None:
        if self.view is not None:
            self.send("resume" if self.view.state.status == "paused" else "pause")

    def action_save(self) -> None:
        self.send("save")

    @work
    async def action_stop(self) -> None:
        view = self.view
        if view is None:
            return
        question = f"Stop training {run_status.name(view.run_id)}?"
        details = "It saves a checkpoint and ends. r goes on from there."
        if await self.app.push_screen_wait(Confirm(question, "Stop", details)) and self.view is view:
            self.send("stop")

    @work(group="resume", exclusive=True)
    async def action_resume(self) -> None:
        if self.view is not None:
            await self.host.resume_run(self.view.run_id)

    @work(thread=True)
    def send(self, command: control.Command) -> None:
        """Leave a command for the run's engine."""
        view = self.view
        if view is None:
            return
        try:
            sent = control.send(Run.open(view.run_id), command)
        except FtError as error:
            self.post_message(WentWrong(error))
        else:
            self.post_message(CommandSent(sent, command))

    def on_command_sent(self, message: CommandSent) -> None:
        self._waiting[message.command_id] = message.command
        self._dirty = True

    def action_chat(self) -> None:
        if self.view is not None:
            self.host.chat_with(self.view.run_id)

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
            self._show_machine()
        elif self._last_run is not None or self.host.runs:
            self._open(self._last_run or self.host.runs[0].id)

    # How the charts are drawn

    def chart_folder(self) -> Path:
        return paths.home() / "charts" / (self.view.run_id if self.view else "machine")

    def action_log(self) -> None:
        self._draw_with(replace(self.options, log=not self.options.log))

    def action_axis(self) -> None:
        following = AXES[(AXES.index(self.options.axis) + 1) % len(AXES)]
        self._draw_with(replace(self.options, axis=following))
        for chart in self.charts:
            chart.reset()

    def action_smoother(self) -> None:
        self._smooth(next((w for w in SMOOTHINGS if w > self.options.smoothing), SMOOTHINGS[-1]))

    def action_rougher(self) -> None:
        self._smooth(next((w for w in reversed(SMOOTHINGS) if w < self.options.smoothing), SMOOTHINGS[0]))

    def _smooth(self, weight: float) -> None:
        self.host.change(smoothing=weight)
        self._draw_with(replace(self.options, smoothing=weight))

    def _draw_with(self, options: Options) -> None:
        self.options = options
        self._dirty = True
        self._paint()

    def action_tab(self) -> None:
        tabs = self.query_one("#tabs", TabbedContent)
        shown = [tab for tab in TABS if tab != "machine-tab" or self.has_class("-narrow")]
        tabs.active = shown[(shown.index(tabs.active) + 1) % len(shown)] if tabs.active in shown else shown[0]
