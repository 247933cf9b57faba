"""Logs of child processes without secrets: Python's output is cleaned as it is printed, native code's afterwards."""

import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.redaction import SHORTEST, redacted, secrets_of
from engine.storage.regular_files import open_handle

BLOCK = 1 << 20


def redact_output() -> None:
    """From now on, let Python write to this process's stdout and stderr without secrets: prints, warnings, tracebacks.

    Output of native code does not pass through here; `scrub` takes it out of the file afterwards.
    """
    sys.stdout, sys.stderr = _Redacted(sys.stdout.buffer), _Redacted(sys.stderr.buffer)


def scrub(path: Path, values: Iterable[str], since: int = 0) -> None:
    """Overwrite secrets in a log with `*`, in place, from byte `since` on; others may keep appending to it.

    Raises OSError; a file that is not there has none.
    """
    parts = (part for value in values for part in (value, *secrets_of(value)))
    hidden = {part.encode() for part in parts if len(part) >= SHORTEST}
    longest = max(map(len, hidden), default=0)
    if not longest or not path.exists():
        return
    with os.fdopen(open_handle(path, os.O_RDWR), "r+b") as file:
        place = since
        file.seek(place)
        while data := file.read(BLOCK + longest):
            for value in hidden:
                found = data.find(value)
                while found >= 0:
                    file.seek(place + found)
                    file.write(b"*" * len(value))
                    found = data.find(value, found + 1)
            place += BLOCK
            file.seek(place)


class _Redacted(io.TextIOWrapper):
    """A text stream that writes immediately, and without secrets."""

    def __init__(self, buffer: Any) -> None:
        super().__init__(buffer, "utf-8", "backslashreplace", line_buffering=True, write_through=True)

    def write(self, text: str) -> int:
        super().write(redacted(text))
        return len(text)
