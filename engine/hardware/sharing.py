"""Computing beside busy processes: this process's threads give way, and come back when the others are gone.

OpenMP divides each operation evenly among its threads, and each spins until the slowest is done. Where another process
takes turns with one of them, all others spin through its turns: one busy neighbour on two cores costs not a third of
the speed but nine tenths of it. So beside busy processes the threads sleep while they wait, and are confined to the
cores that are left over, where they take turns among themselves. Their number stays, and with it how work is divided:
no bit of a result depends on any of this. `benchmarks/shared_machine.py` shows what it is worth.
"""

import contextlib
import math
import os
import random
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from engine.hardware import openmp
from engine.hardware.confinement import Confinement
from engine.hardware.contention import Contention, ContentionMeter
from engine.hardware.memory import address_space_limit

SAMPLE_S = 0.5
BUSY, QUIET = 0.45, 0.3
"""Cores that others use: from the first on, giving way is faster on two cores; below the second, spinning is."""
WAITING = 0.1
"""Cores' worth of waiting of this process's threads that shows that others are in the way."""
ENTER_AFTER, LEAVE_AFTER = 2, 6
"""Samples in a row that it takes to give way, and to come back."""
TELL_AFTER = 4
"""Samples of giving way after which it is worth a word."""


@dataclass(frozen=True)
class Share:
    """Sharing of the machine with other processes: on how many cores its `threads` take turns beside others."""

    threads: tuple[int, ...]
    cores: int
    others: float
    """Cores that other processes used when this was settled."""

    @property
    def slower(self) -> int:
        """About how many times as long an operation takes."""
        return math.ceil(len(self.threads) / self.cores)


class SharingRule:
    """Decides from readings in a row whether to give way, and to how many cores."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._pressed = self._alone = self._different = 0
        """Readings in a row that speak for a change."""
        self.share: Share | None = None
        """None: this process has the machine to itself."""

    def follow(self, seen: Contention) -> Share | None:
        """Decision after a reading."""
        share = self.share
        if share is None:
            self._pressed = self._pressed + 1 if self._is_pressed(seen) else 0
            if self._pressed >= ENTER_AFTER:
                self.share = self._share(seen.computing, seen.others)
                self._alone = self._different = 0
            return self.share
        fresh = self._share(share.threads, seen.others)
        self._alone = self._alone + 1 if seen.others < QUIET else 0
        self._different = self._different + 1 if fresh.cores != share.cores else 0
        if self._alone >= LEAVE_AFTER:
            self.share, self._pressed = None, 0
        elif self._different >= LEAVE_AFTER:
            self.share, self._different = fresh, 0
        return self.share

    def _is_pressed(self, seen: Contention) -> bool:
        threads = len(seen.computing)
        too_many = threads + seen.others > self._cores
        return threads > 1 and too_many and seen.others >= BUSY and seen.waiting >= WAITING

    def _share(self, threads: tuple[int, ...], others: float) -> Share:
        """An operation takes as many rounds as threads share a core: as few cores as that number of rounds needs."""
        left = max(1, self._cores - math.ceil(others - BUSY))
        rounds = math.ceil(len(threads) / left)
        return Share(threads, math.ceil(len(threads) / rounds), others)


class Sharing:
    """Looks at the machine from a thread of its own, and adapts this process's threads to it until it is ended.

    To be made before OpenMP is loaded, which may bind this thread to one core (`OMP_PROC_BIND`).
    """

    def __init__(self) -> None:
        self._cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
        self._rule = SharingRule(len(self._cores))
        self._arrangement = Arrangement(self._cores)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._readings = self._shared = self._in_a_row = 0
        self._told = False

    def start(self) -> None:
        """Begin to look. Does nothing where nothing can be adapted: not on Linux, on one core, without GNU OpenMP.

        `FT_CPU_SHARING=off` leaves the threads as they are. Under `ulimit -v` it is off too: where the memory for one
        thread more is not available, OpenMP ends the process.
        """
        wanted = os.environ.get("FT_CPU_SHARING") != "off" and address_space_limit() is None
        if wanted and self._thread is None and len(self._cores) > 1 and openmp.loaded():
            self._thread = threading.Thread(target=self._watch, name="CPU sharing", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Stop looking, and give all threads back what they had."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def portion(self) -> float:
        """In which part of the time, 0 to 1, this process has given way."""
        return self._shared / self._readings if self._readings else 0.0

    def news(self) -> Share | None:
        """A note on how the machine is shared: once, after other programs have been in the way for some seconds."""
        if self._told or self._in_a_row < TELL_AFTER:
            return None
        self._told = True
        return self._rule.share

    def _watch(self) -> None:
        meter = ContentionMeter(self._cores)
        try:
            while not self._over.wait(SAMPLE_S):
                if (seen := meter.read()) is None:
                    continue
                share = self._rule.follow(seen)
                self._arrangement.follow(share, seen)
                self._readings += 1
                self._shared += share is not None
                self._in_a_row = self._in_a_row + 1 if share else 0
        finally:
            self._arrangement.end()


class Arrangement:
    """Puts a share into force: short waits, and threads confined to cores where others are not."""

    def __init__(self, cores: Sequence[int]) -> None:
        self._cores = cores
        self._waits: openmp.ShortWaits | None = None
        self._confinement = Confinement()
        self._chosen: list[int] = []

    def follow(self, share: Share | None, seen: Contention) -> None:
        """Put `share` into force, or take all back."""
        if share is None:
            self.end()
            return
        self._waits = self._waits or openmp.ShortWaits(len(self._cores))
        if len(self._chosen) != share.cores:
            self._chosen = random.sample(self._cores, share.cores)
        # Only every other time, or two processes that give way meet again and again.
        elif self._is_better_elsewhere(seen) and random.random() < 0.5:
            by_need = sorted(self._cores, key=lambda core: (core in self._chosen, seen.busy[core]))
            self._chosen = by_need[: share.cores]
        # Some containers forbid it; short waits alone are worth most.
        with contextlib.suppress(PermissionError):
            self._confinement.to(self._chosen, share.threads)

    def end(self) -> None:
        """Take back whatever is in force."""
        if self._waits is not None:
            self._confinement.end()
            self._waits.end()
            self._waits, self._confinement, self._chosen = None, Confinement(), []

    def _is_better_elsewhere(self, seen: Contention) -> bool:
        """Return True if others use the chosen cores while other cores are idle."""
        strangers = sum(seen.busy[core] for core in self._chosen) - seen.own
        idle = sum(1 - seen.busy[core] for core in self._cores if core not in self._chosen)
        return min(strangers, idle) > BUSY * len(self._chosen)
