"""Confining the threads of this process to some of its cores, and giving each its own cores back. Linux alone."""

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

TASKS = Path("/proc/self/task")


class Confinement:
    """Puts threads on cores; keeps what each was allowed before, and never allows it more.

    A thread that somebody else gives other cores meanwhile (`taskset -p`) is left alone from then on.
    """

    def __init__(self) -> None:
        self._own: dict[int, set[int]] = {}
        """The cores that each thread was allowed before."""
        self._given: dict[int, set[int]] = {}

    def to(self, cores: Sequence[int], computing: Sequence[int]) -> None:
        """Confine every thread to `cores`; those that compute (their ids) are spread evenly, each on one core.

        Raises PermissionError where the system does not allow it.
        """
        place = {thread: {cores[index % len(cores)]} for index, thread in enumerate(computing)}
        for thread in _threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended
                self._put(thread, place.get(thread, set(cores)))

    def end(self) -> None:
        """Give every thread back what it had; one that began meanwhile gets what the first thread has."""
        for thread in _threads():
            own = self._own.get(thread, self._own.get(os.getpid()))
            with contextlib.suppress(ProcessLookupError):
                if own is not None and not self._was_changed(thread):
                    os.sched_setaffinity(thread, own)

    def _put(self, thread: int, cores: Collection[int]) -> None:
        own = self._own.setdefault(thread, self._before(thread))
        if not self._was_changed(thread):
            self._given[thread] = own.intersection(cores) or own
            os.sched_setaffinity(thread, self._given[thread])

    def _before(self, thread: int) -> set[int]:
        """Cores that a thread may use unconfined. One that a confined thread has made since begins confined."""
        now = os.sched_getaffinity(thread)
        return self._own.get(os.getpid(), now) if now in self._given.values() else now

    def _was_changed(self, thread: int) -> bool:
        return thread in self._given and os.sched_getaffinity(thread) != self._given[thread]


def _threads() -> list[int]:
    return [int(task.name) for task in TASKS.iterdir()]
