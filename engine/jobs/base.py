"""JobContext: what a job gets from the engine process that does it."""

from dataclasses import dataclass
from pathlib import Path

from engine.runs.directory.control import Control
from engine.runs.directory.run import Run


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """A person stopped the job before it had anything to save."""


@dataclass(frozen=True)
class JobContext:
    """A run whose lock is held, and the commands for it."""

    run: Run
    control: Control
    resume: Path | None = None
    """Checkpoint to go on from, for a job that has any."""
    force: bool = False
    """Go on in spite of what a job would refuse."""

    def poll(self) -> None:
        """Obey the commands that are there; a paused job waits here. Raises Stopped where it is to end."""
        self.control.poll()
        if self.control.stop_requested:
            raise Stopped
