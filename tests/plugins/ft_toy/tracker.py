"""A tracker: the loss of every step as a line of CSV."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.runs.directory.events import Event, Step
from engine.runs.directory.run import Run
from engine.trackers.base import Tracker


class Lines:
    """Reports the steps of one run to a file. See `engine.trackers.base.Follower`."""

    def __init__(self, run: Run, options: Mapping[str, Any]) -> None:
        self.file = Path(options["file"])
        self.lines: list[str] = []

    def take(self, event: Event) -> None:
        if isinstance(event, Step):
            self.lines.append(f"{event.step},{event.loss}")

    def close(self) -> None:
        self.file.write_text("\n".join(self.lines) + "\n")


CSV = Tracker("csv", Lines)
