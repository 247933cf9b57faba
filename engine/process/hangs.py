"""A watch for engines that hang: they use no signal, write nothing, and would stand there for days.

An engine shows signs of life: what it adds to the run's events, and a heartbeat before every micro-batch, every answer
token and every part of a download. A training step hangs that is silent for twenty times as long as the run's steps
usually take, and a minute at least. Before enough steps are done, and in evaluations and saves, nothing is known that
one could compare with: there an engine hangs, once its rows are ready, that is silent for five minutes and neither
computes, reads nor writes. Only time in which it could have worked counts: not while it is paused or stopped by a
signal, waits for a disk or for memory, nor while the machine sleeps.
"""

import signal
import statistics
import subprocess
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import psutil

from engine.errors import MachineError
from engine.hardware.pressure import Level, Pressure, pressure
from engine.runs.directory import log
from engine.runs.directory.events import Event, Memory, Phase, Started, Step, Warned, beginning
from engine.runs.directory.heartbeat import last_beat
from engine.runs.directory.run import Run

EXCUSED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DISK_SLEEP)
"""States in which a process cannot show a sign of life: SIGSTOP, a debugger, a disk or swap that does not answer."""
STACKS_SIGNAL = signal.SIGUSR1
"""Has an engine write the stacks of its threads to worker.log, also where it hangs in code that is not Python."""
STACKS_S = 2.0
"""Seconds that it gets for that."""
TICK_S = 1.0
LONGEST_TICK_S = 5.0
"""More than this between two checks was the machine's sleep, or this process's own stop."""
IDLE = 0.01
"""Share of one processor's time below which a process computes nothing."""
RECENT = 100
"""Steps whose median is the usual time."""


@dataclass(frozen=True)
class Patience:
    """Patience with an engine that is silent."""

    times: float = 20.0
    """Of the usual step."""
    least_s: float = 60.0
    """However short the steps are."""
    steps: int = 5
    """Done in this engine before anything is known: the first ones compile and fill caches."""
    idle_s: float = 300.0
    """Seconds for an engine without known step times whose process does nothing."""


@dataclass(frozen=True)
class Silence:
    """An engine that shows no sign of life."""

    seconds: float
    """Seconds since its last sign of life."""
    phase: str
    step: int
    """The step that it is in, or that comes next."""
    usual_s: float | None = None
    """Median seconds of the steps before; None where the engine is idle beyond what a step could be compared with."""

    def __str__(self) -> str:
        silent = f"no sign of life for {_spoken(self.seconds)}"
        if self.usual_s is not None:
            return f"{silent} in step {self.step}; its steps take {_spoken(self.usual_s)}"
        return f"{silent} while {self.phase} before step {self.step}, and does not compute, read or write"


USUAL = Patience()
State = Literal["fine", "silent", "hung"]


class HangWatch:
    """Watch of one engine. `fine`; `silent` from the patience's end on; `hung` at twice that."""

    def __init__(
        self,
        run: Run,
        process: psutil.Process,
        patience: Patience = USUAL,
        read_pressure: Callable[[], Pressure | None] = pressure,
    ) -> None:
        self._run, self._process, self._patience = run, process, patience
        self._read_pressure = read_pressure
        self._offset = run.position()
        self._beat = last_beat(run.heartbeat)
        self._checked_at = time.monotonic()
        self._silent_s = 0.0
        self._phase, self._step = "starting", 0
        self._ready = False
        """True if rows and plan are there; before that, an engine may wait for a network or for another process."""
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._done = self._work()

    @property
    def silence(self) -> Silence:
        """The silence so far."""
        return Silence(self._silent_s, self._phase, self._step + 1, self._usual())

    def check(self, now: float | None = None) -> State:
        """Count the time since the last check, if nothing has come and the engine could have worked."""
        now = time.monotonic() if now is None else now
        passed, self._checked_at = min(now - self._checked_at, LONGEST_TICK_S), now
        alive, works = self._shows_life(), self._works(passed)
        usual, limit = self._usual(), self._limit()
        if alive or limit is None or (works and usual is None):
            self._silent_s = 0.0
            return "fine"
        if not self._excused():
            self._silent_s += passed
        if self._silent_s < limit:
            return "fine"
        return "hung" if self._silent_s >= 2 * limit else "silent"

    def _usual(self) -> float | None:
        """Median seconds of a step; None where nothing is known to compare with."""
        known = self._phase == "training" and len(self._seconds) >= self._patience.steps
        return statistics.median(self._seconds) if known else None

    def _limit(self) -> float | None:
        """Seconds of silence that are too many; None where silence means nothing."""
        usual = self._usual()
        if usual is not None:
            return max(self._patience.least_s, self._patience.times * usual)
        return self._patience.idle_s if self._ready else None

    def _works(self, seconds: float) -> bool:
        """Return True if the process has computed, read or written since the last check."""
        before, self._done = self._done, self._work()
        return self._done[0] - before[0] > IDLE * seconds or self._done[1] != before[1]

    def _work(self) -> tuple[float, int]:
        """Seconds of processor time so far, and bytes read and written where the system tells."""
        try:
            times = self._process.cpu_times()
            io = self._process.io_counters() if hasattr(self._process, "io_counters") else None
        except psutil.Error:
            return 0.0, 0
        return times.user + times.system, io.read_bytes + io.write_bytes if io else 0

    def _shows_life(self) -> bool:
        beat, before = last_beat(self._run.heartbeat), self._beat
        self._beat = beat
        return self._has_written() or beat != before

    def _has_written(self) -> bool:
        try:
            events, self._offset = log.chunk(
                self._run.events_file, self._offset, without=(beginning(Memory),)
            )
        except OSError:
            return False
        for event in events:
            self._take(event)
        return any(not isinstance(event, Warned) for event in events)  # those may be the supervisor's own

    def _take(self, event: Event) -> None:
        match event:
            case Started():
                self._phase, self._step = "starting", event.resumed_from or 0
                self._ready = False
                self._seconds.clear()
            case Phase():
                self._ready |= self._phase == "tokenising" and event.name == "loading"
                self._phase = event.name
            case Step():
                self._step = event.step
                self._seconds.append(event.step_s)

    def _excused(self) -> bool:
        """Return True if the engine could not have worked since the last check."""
        try:
            if self._process.status() in EXCUSED:
                return True
        except psutil.Error:  # it has ended
            return True
        found = self._read_pressure()
        return found is not None and found.level > Level.NORMAL


class Guard:
    """Watches one engine from a thread: warns of its silence, and ends it where it hangs."""

    def __init__(
        self, run: Run, child: "subprocess.Popen[bytes]", watch: HangWatch, ends: Callable[[], bool]
    ) -> None:
        """`ends` tells whether a hung engine is ended, or only warned of."""
        self.run, self.child, self.watch, self.ends = run, child, watch, ends
        self.hung: Silence | None = None
        """Silence for which the engine was ended; None where it was not."""
        self._gone = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch until the end of the block, which waits for the engine's end."""
        thread = threading.Thread(target=self._watch, name="hang watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._gone.set()
            thread.join()

    def _watch(self) -> None:
        before: State = "fine"
        while not self._gone.wait(TICK_S):
            state = self.watch.check()
            if state == "silent" and before == "fine":
                then = "It is ended in as much time again." if self.ends() else "It is left alone."
                self._warn(f"The engine shows {self.watch.silence}. {then}", "")
            elif state == "fine" and before != "fine":
                self._warn("The engine is working again.", "")
            elif state == "hung" and self.ends():
                self._end()
                return
            before = state

    def _end(self) -> None:
        self.hung = self.watch.silence
        self.child.send_signal(STACKS_SIGNAL)
        self._gone.wait(STACKS_S)
        self.child.kill()

    def _warn(self, message: str, hint: str) -> None:
        try:
            self.run.emit(Warned(message=message, hint=hint))
        except MachineError:
            traceback.print_exc()  # a full disk takes no event; the log may still take it


def _spoken(seconds: float) -> str:
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
