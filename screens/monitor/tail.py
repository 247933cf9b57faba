"""Tail of a run's files: a thread reads what is there and what comes, and posts it as messages."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from textual.message import Message

from engine.errors import FtError
from engine.runs.curves import zoom
from engine.runs.curves.series import RunSeries
from engine.runs.directory import control, log
from engine.runs.directory.run import Run
from engine.storage.regular_files import open_binary
from screens.messages import WentWrong
from screens.monitor import history
from screens.monitor.job_files import JobFiles, Stamp, stamp
from screens.monitor.run_messages import (
    CommandSent,
    EventsRead,
    HistoryRead,
    JobRead,
    Liveness,
    LogRead,
    PartRead,
    PlanRead,
    Reading,
    RunGone,
    StartedOver,
)
from screens.monitor.run_view import SMOOTHED

CHUNK = 1 << 16
"""Bytes of events in one message: few enough that taking them leaves the app free to move."""
LOG_TAIL = 1 << 16
"""Bytes of the engine's log that are shown when a run is opened."""
LOOK_S = 0.05
"""Seconds between two reads of the files,"""
SOON_S = 0.01
"""and for a while after the events have grown:"""
AWAKE_S = 2.0


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
        self._trains = run.kind == "train"
        self._job: Stamp | None = None
        """Stamp of the job's files as they were last read."""

    def catch_up(
        self, smoothing: float, post: Callable[[Message], object], cancelled: threading.Event
    ) -> None:
        """Post whether it lives, and the past of a long run: its outline first, then all of it."""
        path, run_id = self.run.events_file, self.run.id
        if self.run.alive():  # said immediately, since a person may want to pause or stop it
            self._alive = True
            post(Liveness(self.token, True))
        try:
            for message in (*self._of_job(), *self._plan(), *self._log()):
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
            yield from self._of_job()
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

    def _of_job(self) -> Iterator[Message]:
        """Options and results of a job, whenever one of their files has changed."""
        if not self._trains and (found := stamp(self.run)) != self._job:
            self._job = found
            yield JobRead(self.token, JobFiles.read(self.run))

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
