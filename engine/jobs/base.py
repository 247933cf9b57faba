"""JobContext: what a job gets from the engine process that does it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.runs.directory.control import Control
from engine.runs.directory.events import Phase
from engine.runs.directory.run import Run

TELL_EVERY_S = 0.5
"""Least time between two events of one download or conversion."""


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """A person stopped the job before it had anything to save."""


@dataclass(frozen=True)
class JobContext:
    """A run whose lock is held, and the commands for it."""

    run: Run
    control: Control
    resume: Path | None = None
    """Checkpoint to resume from, for a job that has any."""
    force: bool = False
    """Go on in spite of what a job would refuse."""

    def poll(self) -> None:
        """Obey the commands that are there; a paused job waits here. Raises Stopped where it is to end."""
        self.control.poll()
        if self.control.stop_requested:
            raise Stopped

    def loading(self) -> Callable[[str, int, int], None]:
        """Callback for the progress of a download, which is reported now and then; a command is obeyed in between."""
        told = 0.0

        def progress(what: str, done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= TELL_EVERY_S or done == total:
                told = time.monotonic()
                self.run.emit(Phase(name="loading", done=done, total=total, note=what))
            self.poll()

        return progress
