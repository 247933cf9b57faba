"""CPU use of other processes, and the time that this process's threads wait for it, both as Linux reports them."""

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
COMPUTING = 0.5
"""A thread computes where it ran, or was ready to run, for at least this share of the time."""


@dataclass(frozen=True)
class Contention:
    """CPU use since the last reading, in cores: 1.0 is one core all the time."""

    others: float
    """Used by other processes, of the cores that this process may use."""
    waiting: float
    """Time that this process's threads were ready to run and had no core."""
    computing: tuple[int, ...]
    """Ids of the threads that computed, in order."""
    own: float
    """Used by this process."""
    busy: Mapping[int, float]
    """Load of each core, by all processes."""


@dataclass(frozen=True)
class _Reading:
    at: float
    busy: dict[int, float]
    """Seconds that each core has been busy since the system started."""
    own: float
    """Seconds that this process has run."""
    threads: dict[int, tuple[float, float]]
    """Seconds that each thread of this process has run, and has waited to run."""


class ContentionMeter:
    """Reads the kernel's counters; keeps those of the last reading. To be used by one thread."""

    def __init__(self, cores: Collection[int], proc: Path = PROC) -> None:
        self._cores, self._proc = cores, proc
        self._last = self._counters()

    def read(self) -> Contention | None:
        """CPU use since the last call; None where the kernel does not report it."""
        last, now = self._last, self._counters()
        self._last = now
        if last is None or now is None or now.at <= last.at:
            return None
        elapsed = now.at - last.at
        busy = {core: (spent - last.busy.get(core, spent)) / elapsed for core, spent in now.busy.items()}
        own = (now.own - last.own) / elapsed
        waiting, computing = 0.0, []
        for thread, (ran, waited) in now.threads.items():
            ran_before, waited_before = last.threads.get(thread, (0.0, 0.0))
            waiting += (waited - waited_before) / elapsed
            if (ran - ran_before + waited - waited_before) / elapsed >= COMPUTING:
                computing.append(thread)
        return Contention(max(0.0, sum(busy.values()) - own), waiting, tuple(sorted(computing)), own, busy)

    def _counters(self) -> _Reading | None:
        try:
            busy = _busy((self._proc / "stat").read_text(encoding="ascii"))
            threads = {int(task.name): _times(task) for task in (self._proc / "self" / "task").iterdir()}
        except (OSError, ValueError, IndexError):  # no Linux, or a kernel that does not count
            return None
        if not busy.keys() >= set(self._cores):  # some containers renumber their cores
            return None
        known = {thread: times for thread, times in threads.items() if times is not None}
        used = {core: busy[core] for core in self._cores}
        return _Reading(time.monotonic(), used, time.process_time(), known)


def _busy(stat: str) -> dict[int, float]:
    """Seconds busy by core, of /proc/stat (proc_stat(5)): user, nice, system, interrupts. Stolen time is nobody's."""
    tick = os.sysconf("SC_CLK_TCK")
    busy = {}
    for line in stat.splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _waiting, interrupt, soft_interrupt = map(int, numbers[:7])
            busy[int(name[3:])] = (user + nice + system + interrupt + soft_interrupt) / tick
    return busy


def _times(task: Path) -> tuple[float, float] | None:
    """Seconds run and waited on a run queue, of schedstat (docs.kernel.org/scheduler/sched-stats.html)."""
    try:
        ran, waited, _slices = (task / "schedstat").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):  # the thread has ended
        return None
    return int(ran) / 1e9, int(waited) / 1e9
