"""A screen that follows one run: takes its events as they come, and sends it commands."""

import contextlib
from collections.abc import Sequence

from textual import work
from textual.message import Message
from textual.worker import get_current_worker

from engine.errors import FtError
from engine.runs.curves import zoom
from engine.runs.curves.series import RunSeries
from engine.runs.directory import control
from engine.runs.directory.events import Acknowledged, Event, Started
from engine.runs.directory.run import Run
from engine.runs.directory.state import RunState
from screens.charts.screen import ChartScreen
from screens.messages import WentWrong
from screens.monitor import follow
from screens.monitor.run_view import SMOOTHED, RunView


class CommandSent(Message):
    """A command lies in the run's folder; the engine will acknowledge it by this id."""

    def __init__(self, token: int, command_id: str, command: control.Command) -> None:
        super().__init__()
        self.token = token
        self.command_id = command_id
        self.command = command


class RunScreen(ChartScreen):
    """Holds what is known of the run that is followed. The subclass shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.view: RunView | None = None
        self.waiting: dict[str, str] = {}
        """Commands by their ids that the engine has not acknowledged."""
        self._token = 0
        """Tells what was read of this run from what is still coming of the one before."""

    def run_changed(self) -> None:
        """There is more to show of the run."""
        raise NotImplementedError

    def run_replaced(self) -> None:
        """What was shown no longer holds."""
        raise NotImplementedError

    def log_grew(self, lines: Sequence[str]) -> None:
        """The engine's log has more lines."""
        raise NotImplementedError

    def follow_run(self, run_id: str | None) -> None:
        """Follow another run, or none."""
        self._token += 1
        self.waiting.clear()
        self.host.engine_pid = None
        self.workers.cancel_group(self, "follow")
        self.view = None if run_id is None else RunView(run_id)
        if run_id is not None:
            self._read_run(run_id, self._token)
        self.run_replaced()

    @work(thread=True, exclusive=True, group="follow")
    def _read_run(self, run_id: str, token: int) -> None:
        cancelled = get_current_worker().cancelled_event
        follow.follow(run_id, token, self.host.preferences.smoothing, self.post_message, cancelled)

    def on_history_read(self, message: follow.HistoryRead) -> None:
        before = self.view
        if before is not None and message.token == self._token:
            self.view = message.view
            self.view.alive, self.view.plan = before.alive, before.plan
            self._settle(self.view, before.state)

    def look_closely(self, part: zoom.Part) -> None:
        """Have steps read again that the curves no longer hold singly, unless some are being read."""
        if self.view is not None and not any(
            worker.group == "part" for worker in self.workers if worker.is_running
        ):
            self._read_part(self.view.run_id, part, self.view.series.again(part), self._token)

    @work(thread=True, group="part")
    def _read_part(self, run_id: str, part: zoom.Part, series: RunSeries, token: int) -> None:
        with contextlib.suppress(OSError, FtError):  # gone: the curves stay as they are
            zoom.read(Run.open(run_id).events_file, part, series, get_current_worker().cancelled_event)
        for _ in series.smoothing(SMOOTHED, self.host.preferences.smoothing):
            pass
        self.post_message(follow.PartRead(token, part, series))

    def on_part_read(self, message: follow.PartRead) -> None:
        if self.view is not None and message.token == self._token:
            self.view.series.refine(message.part, message.series)
            self.run_changed()

    def on_reading(self, message: follow.Reading) -> None:
        if self.view is not None and message.token == self._token:
            self.view.share = message.share
            self.run_changed()

    def on_events_read(self, message: follow.EventsRead) -> None:
        if self.view is not None and message.token == self._token:
            before = self.view.state
            for event in message.events:
                self.view.take(event)
                self._notice(event)
            self.view.series.fed(message.end)
            self.view.share = message.share
            self._settle(self.view, before)
        message.taken.set()

    def on_started_over(self, message: follow.StartedOver) -> None:
        if self.view is not None and message.token == self._token:
            self.view = RunView(self.view.run_id, alive=self.view.alive, plan=self.view.plan)
            self.run_replaced()

    def on_liveness(self, message: follow.Liveness) -> None:
        if self.view is not None and message.token == self._token:
            before = self.view.state
            self.view.alive = message.alive
            if not message.alive:
                self.waiting.clear()
            self._settle(self.view, before)
            self.refresh_bindings()

    def on_plan_read(self, message: follow.PlanRead) -> None:
        if self.view is not None and message.token == self._token:
            self.view.plan = message.plan
            self.run_changed()

    def on_log_read(self, message: follow.LogRead) -> None:
        if message.token == self._token:
            self.log_grew(message.lines)

    def on_run_gone(self, message: follow.RunGone) -> None:
        if self.view is None or message.token != self._token:
            return
        if message.error is not None:
            self.host.fail(message.error)
        self.view.gone, self.view.alive = True, False
        self.host.engine_pid = None
        self.waiting.clear()
        self.run_changed()
        self.refresh_bindings()

    def _settle(self, view: RunView, before: RunState) -> None:
        self.host.engine_pid = view.pid if view.alive else None
        if view.state.status != before.status:
            self.refresh_bindings()
        self.run_changed()

    def _notice(self, event: Event) -> None:
        """Say that a command which was sent from here has been taken."""
        if isinstance(event, Acknowledged) and self.waiting.pop(event.id, None) is not None:
            self.notify(f"{event.command}: understood", timeout=3)
        elif isinstance(event, Started):
            self.waiting.clear()

    @work(thread=True)
    def send(self, run_id: str, command: control.Command, token: int) -> None:
        """Leave a command for the run's engine."""
        try:
            sent = control.send(Run.open(run_id), command)
        except FtError as error:
            self.post_message(WentWrong(error))
        else:
            self.post_message(CommandSent(token, sent, command))

    def tell_engine(self, command: control.Command) -> None:
        """Send a command to the engine of the run that is followed."""
        if self.view is not None:
            self.send(self.view.run_id, command, self._token)

    def on_command_sent(self, message: CommandSent) -> None:
        if self.view is None or message.token != self._token:
            return
        if message.command_id not in self.view.acknowledged:
            self.waiting[message.command_id] = message.command
        self.run_changed()
