"""A file in the run directory whose time of change says that the engine's main thread makes progress."""

import contextlib
import os
import time
from pathlib import Path

EVERY_S = 1.0
"""Least time between two beats."""


class Heartbeat:
    """The engine's side: `beat` is called wherever it asks for commands, so before every micro-batch."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = float("-inf")

    def beat(self) -> None:
        """Say so, at most once in `EVERY_S`. Never raises: a disk that takes no time stamp fails at the next event."""
        now = time.monotonic()
        if now - self._at >= EVERY_S:
            self._at = now
            with contextlib.suppress(OSError):
                self._file.touch()


def last_beat(file: Path) -> int:
    """Time of the file's last change, in nanoseconds, to be compared alone; 0 where there is none."""
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116 - each second, for days
    except OSError:
        return 0
