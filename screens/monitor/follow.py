"""Follow a run while it is written: a worker reads its files and posts what is new."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from textual.message import Message

from engine.errors import FtError
from engine.runs.curves import zoom
from engine.runs.curves.series import RunSeries
from engine.runs.directory import log
from engine.runs.directory.events import Event
from engine.runs.directory.run import Run
from engine.storage.regular_files import open_binary
from screens.monitor import history
from screens.monitor.run_view import RunView

if TYPE_CHECKING:
    from engine.planning.plan import Plan

CHUNK = 1 << 16
"""Bytes of events in one message: few enough that taking them leaves the app free to move."""
LOG_TAIL = 1 << 16
"""Bytes of the engine's log that are shown when a run is opened."""
LOOK_S = 0.05
"""How often the files are looked at,"""
SOON_S = 0.01
"""and how often for a while after the events have grown:"""
AWAKE_S = 2.0


class EventsRead(Message):
    """Events of a run, in order. None may be lost, so no message of these replaces another."""

    def __init__(self, token: int, events: tuple[Event, ...], share: float, end: int) -> None:
        super().__init__()
        self.token = token
        """Which following this belongs to: another run may have been opened since."""
        self.events = events
        self.end = end
        """The byte of the file after the last of them."""
        self.share = share
        """How much of the file has been read, 0 to 1."""
        self.taken = threading.Event()
        """Set by the one who takes it; the worker reads ahead by one message, not more."""


class HistoryRead(Message):
    """What a long run has done until now; what comes after is told as events. It is the receiver's from now on."""

    def __init__(self, token: int, view: RunView) -> None:
        super().__init__()
        self.token = token
        self.view = view


class Reading(Message):
    """How much of a long run has been read, 0 to 1; the last word wins."""

    def __init__(self, token: int, share: float) -> None:
        super().__init__()
        self.token = token
        self.share = share

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Reading) and message.token == self.token


class StartedOver(Message):
    """The file has been written anew: forget what was read of it."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token


class Liveness(Message):
    """Whether the run's engine lives; the last word wins."""

    def __init__(self, token: int, alive: bool) -> None:
        super().__init__()
        self.token = token
        self.alive = alive


class PlanRead(Message):
    """What was planned for the run."""

    def __init__(self, token: int, plan: "Plan") -> None:
        super().__init__()
        self.token = token
        self.plan = plan


class LogRead(Message):
    """New lines of the engine's log."""

    def __init__(self, token: int, lines: tuple[str, ...]) -> None:
        super().__init__()
        self.token = token
        self.lines = lines


class PartRead(Message):
    """Steps that were read again, to be shown singly."""

    def __init__(self, token: int, part: zoom.Part, series: RunSeries) -> None:
        super().__init__()
        self.token = token
        self.part = part
        self.series = series


class RunGone(Message):
    """The run's folder is no longer there, or cannot be read."""

    def __init__(self, token: int, error: FtError | None = None) -> None:
        super().__init__()
        self.token = token
        self.error = error


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


class Tail:
    """Where a reader stands in a run's files."""

    def __init__(self, run: Run, token: int) -> None:
        self.run = run
        self.token = token
        self._offset = 0
        self._absent = False
        """Whether the file of events was not there when it was looked at last."""
        self._log_offset: int | None = None
        self._alive: bool | None = None
        self._planned: float | None = None

    def catch_up(
        self, smoothing: float, post: Callable[[Message], object], cancelled: threading.Event
    ) -> None:
        """Say whether it lives, and read the past of a long run: its outline in a moment, then all of it."""
        path, run_id = self.run.events_file, self.run.id
        if self.run.alive():  # said at once, since a person may want to pause or stop it
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
            return  # it is told by `look`, which meets it again
        if found is not None:
            view, self._offset = found
            post(HistoryRead(self.token, view))

    def look(self) -> Iterator[Message]:
        """What is new, at most one chunk of each file. Never raises for what is in the folder."""
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
        if alive != self._alive and (alive or not more):  # that it is dead, only when all is read
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
