"""Heartbeat of a job: between micro-batches and tokens it obeys commands and emits warnings."""

from collections.abc import Callable, Sequence

from engine.backends.base import Interrupted
from engine.runs.directory.control import Control
from engine.runs.directory.events import Phase, Warned
from engine.runs.directory.run import Run

Watch = Callable[[], Warned | None]
"""Something to warn of, if there is."""


class Heartbeat:
    """The pulse of a job: called wherever it may be interrupted."""

    def __init__(self, run: Run, control: Control, watches: Sequence[Watch] = ()) -> None:
        self.run, self.control, self.watches = run, control, watches

    def check(self) -> None:
        """Obey commands and emit warnings. Raises Interrupted where a stop is asked for."""
        self.control.poll()
        if self.control.stop_requested:
            raise Interrupted
        for watch in self.watches:
            if warning := watch():
                self.run.emit(warning)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """The same, and how far an evaluation is; `note` says of what."""
        self.check()
        self.run.emit(Phase(name="evaluating", done=done, total=total, note=note))
