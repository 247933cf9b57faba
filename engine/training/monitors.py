"""Monitors of a run that is going wrong: divergence, memory that runs short, a machine that others keep busy."""

import math
import time
from collections.abc import Callable

from engine.errors import TrainingError
from engine.hardware.memory import memory
from engine.hardware.pressure import Level, Pressure, pressure
from engine.hardware.sharing import Sharing
from engine.runs.directory.events import Warned
from engine.training.progress import Progress
from engine.units import size

SMOOTHING = 0.9
RISE = 2.0
"""A moving average this many times its lowest value, plus one nat, is a divergence."""
MOST_SKIPPED = 5
CHECK_S = 2.0
"""Least time between two checks: on a Mac a check starts a program."""
QUIET_S = 60.0
"""Least time between two warnings, unless it is worse than it was at the last one."""
HINT = (
    "Close what else needs memory. If it stays so, stop the run and resume it with a smaller training.batch_size, "
    "or with gradient_checkpointing: true."
)


def check_divergence(progress: Progress, loss: float, grad_norm: float) -> str:
    """Take in one step; returns a warning or nothing. Raises TrainingError where the weights are beyond use."""
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        progress.skipped += 1
        if progress.skipped >= MOST_SKIPPED:
            raise TrainingError(
                f"The loss or its gradient was not a number {MOST_SKIPPED} steps in a row (step {progress.step}).",
                "Lower training.learning_rate, or set training.precision: fp32, and resume from the last checkpoint.",
            )
        return f"Step {progress.step}: loss {loss}, gradient norm {grad_norm}; the step was skipped."
    progress.skipped = 0
    before = progress.loss_average
    average = loss if before is None else SMOOTHING * before + (1 - SMOOTHING) * loss
    progress.loss_average = average
    progress.lowest_average = min(
        average, average if progress.lowest_average is None else progress.lowest_average
    )
    if average > RISE * progress.lowest_average + 1.0 and not progress.warned:
        progress.warned = True
        return (
            f"The loss is diverging: {average:.2f} on average at step {progress.step}, "
            f"{progress.lowest_average:.2f} at its lowest. A lower training.learning_rate usually helps."
        )
    return ""


class PressureWatch:
    """Monitor of the memory pressure of a run; remembers the level that it has warned of."""

    def __init__(self, read: Callable[[], Pressure | None] = pressure) -> None:
        self._read = read
        self._checked_at = self._warned_at = float("-inf")
        self._level = self._warned = Level.NORMAL

    def check(self, now: float | None = None) -> Warned | None:
        """A warning where the pressure has risen; `now` is a monotonic clock in seconds. Cheap."""
        now = time.monotonic() if now is None else now
        if now - self._checked_at < CHECK_S:
            return None
        self._checked_at = now
        found = self._read()
        if found is None:
            return None
        rose, self._level = found.level > self._level, found.level
        if not rose or (found.level <= self._warned and now - self._warned_at < QUIET_S):
            return None
        self._warned, self._warned_at = found.level, now
        total, available = memory()
        word = "critical" if found.level == Level.CRITICAL else "high"
        held = f"{size(total - available)} of {size(total)} are in use"
        return Warned(message=f"Memory pressure is {word}: {found.evidence}; {held}.", hint=HINT)


class NeighbourWatch:
    """Monitor of other programs that compete with the engine for the CPU."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing

    def check(self) -> Warned | None:
        """A warning, once, where others have been busy for some seconds. Cheap."""
        share = self._sharing.news()
        if share is None:
            return None
        cores = "a core" if share.others < 1.5 else f"{share.others:.0f} cores"
        return Warned(
            message=f"Other programs keep about {cores} busy: training shares the CPU with them and is "
            f"{share.slower} times slower or more until they are done.",
            hint="The result does not depend on it. Close what else computes to have the full speed back.",
        )
