"""Follow a run while it is written: a thread reads its files and posts what is new, `RunFollower` takes it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual.message import Message

from engine.errors import FtError
from engine.runs.curves import zoom
from engine.runs.curves.series import RunSeries
from engine.runs.directory import control, log
from engine.runs.directory.events import Acknowledged, Event, Started
from engine.runs.directory.run import Run
from engine.storage.regular_files import open_binary
from screens.messages import WentWrong
from screens.monitor import history
from screens.monitor.run_view import SMOOTHED, RunView

if TYPE_CHECKING:
    from engine.planning.plan import Plan

CHUNK = 1 << 16
"""Bytes of events in one message: few enough that taking them leaves the app free to move."""
LOG_TAIL = 1 << 16
"""Bytes of the engine's log that are shown when a run is opened."""
LOOK_S = 0.05
"""Seconds between two reads of the files,"""
SOON_S = 0.01
"""and for a while after the events have grown:"""
AWAKE_S = 2.0


class FromRun(Message):
    """News of a followed run. `token` says which following it belongs to: another run may have been opened since."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token


class EventsRead(FromRun):
    """Events of a run, in order. None may be lost, so no message of these replaces another."""

    def __init__(self, token: int, events: tuple[Event, ...], share: float, end: int) -> None:
        super().__init__(token)
        self.events = events
        self.end = end
        """The byte of the file after the last of them."""
        self.share = share
        """Share of the file that has been read, 0 to 1."""
        self.taken = threading.Event()
        """Set by the one who takes it; the worker reads ahead by one message, not more."""


class HistoryRead(FromRun):
    """A long run until now; what comes after follows as events. The view is the receiver's from now on."""

    def __init__(self, token: int, view: RunView) -> None:
        super().__init__(token)
        self.view = view


class Reading(FromRun):
    """Share of a long run that has been read, 0 to 1; a newer one replaces an older one in the queue."""

    def __init__(self, token: int, share: float) -> None:
        super().__init__(token)
        self.share = share

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Reading) and message.token == self.token


class StartedOver(FromRun):
    """The file of events was replaced: what was read of it no longer holds."""


class Liveness(FromRun):
    """The run's engine lives, or does not."""

    def __init__(self, token: int, alive: bool) -> None:
        super().__init__(token)
        self.alive = alive


class PlanRead(FromRun):
    """The run's plan."""

    def __init__(self, token: int, plan: "Plan") -> None:
        super().__init__(token)
        self.plan = plan


class LogRead(FromRun):
    """New lines of the engine's log."""

    def __init__(self, token: int, lines: tuple[str, ...]) -> None:
        super().__init__(token)
        self.lines = lines


class PartRead(FromRun):
    """Steps that were read again, to be shown singly."""

    def __init__(self, token: int, part: zoom.Part, series: RunSeries) -> None:
        super().__init__(token)
        self.part = part
        self.series = series


class CommandSent(FromRun):
    """A command is in the run's folder; the engine will acknowledge it by this id."""

    def __init__(self, token: int, command_id: str, command: control.Command) -> None:
        super().__init__(token)
        self.command_id = command_id
        self.command = command


class RunGone(FromRun):
    """The run's folder is no longer there, or cannot be read."""

    def __init__(self, token: int, error: FtError | None = None) -> None:
        super().__init__(token)
        self.error = error


@dataclass(frozen=True)
class Change:
    """Effect of a message on what is shown of a run; the view itself may always have changed."""

    replaced: bool = False
    """Nothing that was drawn holds any longer."""
    status: bool = False
    """Other actions may be possible now."""
    log: tuple[str, ...] = ()
    """New lines of the engine's log."""
    acknowledged: tuple[str, ...] = ()
    """Commands sent from here that the engine has taken."""
    error: FtError | None = None


class RunFollower:
    """State of the run that is followed, and of the commands sent to it. Holds no widget and starts no thread."""

    def __init__(self) -> None:
        self.view: RunView | None = None
        self.token = 0
        """Tells what was read of this run from what is still coming of the one before."""
        self.waiting: dict[str, control.Command] = {}
        """Commands by their ids that the engine has not acknowledged."""

    @property
    def engine_pid(self) -> int | None:
        """The engine's process, as long as it lives."""
        return self.view.pid if self.view is not None and self.view.alive else None

    def start(self, run_id: str | None) -> int:
        """Follow another run, or none; returns the token that its messages are to carry."""
        self.token += 1
        self.waiting.clear()
        self.view = None if run_id is None else RunView(run_id)
        return self.token

    def take(self, message: FromRun) -> Change | None:
        """Fold a message into the view; None where it is about a run that is no longer followed."""
        view = self.view
        if view is None or message.token != self.token:
            change = None
        else:
            before = view.state.status
            change = self._folded(view, message)
            if self.view is not None and self.view.state.status != before:
                change = replace(change, status=True)
        if isinstance(message, EventsRead):
            message.taken.set()
        return change

    def _folded(self, view: RunView, message: FromRun) -> Change:
        match message:
            case EventsRead():
                return self._events(view, message)
            case HistoryRead():
                message.view.alive, message.view.plan = view.alive, view.plan
                self.view = message.view
            case StartedOver():
                self.view = RunView(view.run_id, alive=view.alive, plan=view.plan)
                return Change(replaced=True)
            case Reading():
                view.share = message.share
            case PlanRead():
                view.plan = message.plan
            case PartRead():
                view.series.refine(message.part, message.series)
            case LogRead():
                return Change(log=message.lines)
            case CommandSent():
                if message.command_id not in view.acknowledged:
                    self.waiting[message.command_id] = message.command
            case Liveness():
                view.alive = message.alive
                if not message.alive:
                    self.waiting.clear()
                return Change(status=True)
            case RunGone():
                view.gone, view.alive = True, False
                self.waiting.clear()
                return Change(status=True, error=message.error)
        return Change()

    def _events(self, view: RunView, message: EventsRead) -> Change:
        acknowledged = []
        for event in message.events:
            view.take(event)
            if isinstance(event, Acknowledged) and self.waiting.pop(event.id, None) is not None:
                acknowledged.append(event.command)
            elif isinstance(event, Started):
                self.waiting.clear()
        view.series.fed(message.end)
        view.share = message.share
        return Change(acknowledged=tuple(acknowledged))


def follow(
    run_id: str,
    token: int,
    smoothing: float,
    post: Callable[[Message], object],
    cancelled: threading.Event,
) -> None:
    """Post what is in a run and then what comes, until cancelled or the run is gone. Blocks."""
    try:
        tail = Tail(Run.open(run_id), token)
    except FtError as error:
        post(RunGone(token, error))
        return
    tail.catch_up(smoothing, post, cancelled)
    before: EventsRead | None = None
    grown = 0.0
    while not cancelled.is_set():
        idle = True
        for message in tail.look():
            post(message)
            if isinstance(message, RunGone):
                return
            if isinstance(message, EventsRead):
                idle, grown = False, time.monotonic()
                while before is not None and not before.taken.wait(LOOK_S):
                    if cancelled.is_set():
                        return
                before = message
        if idle:
            cancelled.wait(SOON_S if time.monotonic() - grown < AWAKE_S else LOOK_S)


def read_part(
    run_id: str,
    token: int,
    part: zoom.Part,
    series: RunSeries,
    smoothing: float,
    post: Callable[[Message], object],
    cancelled: threading.Event,
) -> None:
    """Read steps again that the curves no longer hold singly, and post them. Blocks."""
    with contextlib.suppress(OSError, FtError):  # gone: the curves stay as they are
        zoom.read(Run.open(run_id).events_file, part, series, cancelled)
    for _ in series.smoothing(SMOOTHED, smoothing):
        pass
    post(PartRead(token, part, series))


def send(run_id: str, command: control.Command, token: int, post: Callable[[Message], object]) -> None:
    """Leave a command for the run's engine, and post that it was sent. Blocks."""
    try:
        sent = control.send(Run.open(run_id), command)
    except FtError as error:
        post(WentWrong(error))
    else:
        post(CommandSent(token, sent, command))


class Tail:
    """Position of a reader in a run's files."""

    def __init__(self, run: Run, token: int) -> None:
        self.run = run
        self.token = token
        self._offset = 0
        self._absent = False
        """True if the file of events was missing when it was last read."""
        self._log_offset: int | None = None
        self._alive: bool | None = None
        self._planned: float | None = None

    def catch_up(
        self, smoothing: float, post: Callable[[Message], object], cancelled: threading.Event
    ) -> None:
        """Post whether it lives, and the past of a long run: its outline first, then all of it."""
        path, run_id = self.run.events_file, self.run.id
        if self.run.alive():  # said immediately, since a person may want to pause or stop it
            self._alive = True
            post(Liveness(self.token, True))
        try:
            for message in (*self._plan(), *self._log()):
                post(message)
            if path.stat().st_size < history.LONG:
                return
            post(HistoryRead(self.token, history.outline(path, run_id, smoothing)))
            found = history.whole(
                path, run_id, smoothing, cancelled, lambda share: post(Reading(self.token, share))
            )
        except OSError:
            return  # `look` meets it again, and reports it
        if found is not None:
            view, self._offset = found
            post(HistoryRead(self.token, view))

    def look(self) -> Iterator[Message]:
        """Yield what is new, at most one chunk of each file. Never raises for what is in the folder."""
        alive = self.run.alive()  # asked before reading: the last words of an engine are not missed
        more = False
        try:
            for message in self._events():
                more = True
                yield message
            yield from self._plan()
            yield from self._log()
        except OSError:
            if not self.run.folder.is_dir():
                yield RunGone(self.token)
                return
        if alive != self._alive and (alive or not more):  # that it has ended, only when all is read
            self._alive = alive
            yield Liveness(self.token, alive)

    def _events(self) -> Iterator[Message]:
        try:
            size = self.run.events_file.stat().st_size
        except FileNotFoundError:
            if not self.run.folder.is_dir():
                raise
            self._absent = True  # what was read stays until there is something else
            return
        if size < self._offset or (self._absent and self._offset):
            self._offset = 0
            yield StartedOver(self.token)
        self._absent = False
        if size == self._offset:
            return
        events, offset = log.chunk(self.run.events_file, self._offset, CHUNK)
        if offset > self._offset:
            self._offset = offset
            yield EventsRead(self.token, tuple(events), offset / max(size, offset), offset)

    def _plan(self) -> Iterator[Message]:
        """The plan, whenever its file has changed: the engine writes it after tokenising."""
        try:
            changed = (self.run.folder / "plan.json").stat().st_mtime
        except FileNotFoundError:
            return
        if changed != self._planned:
            self._planned = changed
            plan = self.run.plan
            if plan is not None:
                yield PlanRead(self.token, plan)

    def _log(self) -> Iterator[Message]:
        """Whole lines of the log that are new; of a long log, its end."""
        try:
            size = self.run.log.stat().st_size
        except FileNotFoundError:
            return
        first = self._log_offset is None
        start = self._log_offset if self._log_offset is not None else max(0, size - LOG_TAIL)
        start = 0 if size < start else start
        if size == start:
            self._log_offset = start
            return
        with open_binary(self.run.log) as file:
            file.seek(start)
            data = file.read(LOG_TAIL)
        whole = data.rfind(b"\n") + 1 or (len(data) if len(data) == LOG_TAIL else 0)
        self._log_offset = start + whole
        lines = data[:whole].decode("utf-8", "replace").split("\n")[:-1]
        if first and start > 0:
            lines = lines[1:]  # the first is a part of a line
        if lines:
            yield LogRead(self.token, tuple(lines))
