"""Tell that memory runs short before the system slows down, or ends the run."""

import time
from collections.abc import Callable

from engine.hardware.memory import memory
from engine.hardware.pressure import Level, Pressure, pressure
from engine.planning.limits import gigabytes
from engine.runs.directory.events import Warned

LOOK_S = 2.0
"""Least time between two looks: on a Mac a look starts a program."""
QUIET_S = 60.0
"""Least time between two warnings, unless it is worse than it was at the last one."""
HINT = (
    "Close what else needs memory. If it stays so, stop the run and resume it with a smaller training.batch_size, "
    "or with gradient_checkpointing: true."
)


class PressureWatch:
    """Looks at the memory pressure while a run goes on; keeps what it has told."""

    def __init__(self, read: Callable[[], Pressure | None] = pressure) -> None:
        self._read = read
        self._looked_at = self._told_at = float("-inf")
        self._level = self._told = Level.NORMAL

    def look(self, now: float | None = None) -> Warned | None:
        """A warning where the pressure has risen; `now` is a monotonic clock in seconds. Cheap."""
        now = time.monotonic() if now is None else now
        if now - self._looked_at < LOOK_S:
            return None
        self._looked_at = now
        found = self._read()
        if found is None:
            return None
        rose, self._level = found.level > self._level, found.level
        if not rose or (found.level <= self._told and now - self._told_at < QUIET_S):
            return None
        self._told, self._told_at = found.level, now
        total, available = memory()
        word = "critical" if found.level == Level.CRITICAL else "high"
        held = f"{gigabytes(total - available)} of {gigabytes(total)} are in use"
        return Warned(message=f"Memory pressure is {word}: {found.evidence}; {held}.", hint=HINT)
