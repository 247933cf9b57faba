"""Recipe text that is not saved, on disk while it is so: an app that is killed, or crashes, loses none of it.

Each app has one file in `unsaved` under FT_HOME, and holds a lock beside it as long as it lives. Files whose lock
nobody holds were left behind; the next app offers them back.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock

from engine import paths
from engine.errors import FtError
from engine.redaction import redacted
from engine.runs.directory import lock
from engine.storage.atomic import write_atomic
from engine.storage.regular_files import read_text
from screens.recipe.files import on_disk

FOLDER = "unsaved"
LOCK = ".lock"
MOST = 5
"""Texts that are offered; of a machine on which apps are killed every day, the newest."""


@dataclass(frozen=True)
class LeftBehind:
    """A text that an app had not saved when it ended."""

    file: Path
    """The file that holds it."""
    path: Path | None
    """The recipe's file; None for a text that had none."""
    text: str
    changed: float
    """Unix seconds of the last change."""

    def discard(self) -> None:
        """Remove it from the disk."""
        self.file.unlink(missing_ok=True)
        self.file.with_suffix(LOCK).unlink(missing_ok=True)


class Unsaved:
    """This app's own file. `store`, `discard` and `close` may be called from any thread."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._lock: int | None = None
        self._one_at_a_time = Lock()

    def store(self, path: Path | None, text: str | None, left: LeftBehind | None, cancelled: Event) -> None:
        """Have the text on disk, or nothing for None; `left` is where it was before. Raises OSError.

        Does nothing where it was cancelled while it waited: a newer text is there, or none is wanted.
        """
        with self._one_at_a_time:
            if cancelled.is_set():
                return
            if text is None:
                self.drop()
            else:
                self.keep(path, text)
            if left is not None:
                left.discard()

    def discard(self) -> None:
        """Remove it; where the disk refuses, it is offered once more."""
        with self._one_at_a_time, suppress(OSError):
            self.drop()

    def close(self) -> None:
        """Leave what is on disk to the next app."""
        with self._one_at_a_time:
            self.leave()

    def keep(self, path: Path | None, text: str) -> None:
        """Write the text down, without passwords. Raises OSError where the disk says no."""
        if self._file is None:
            folder = paths.home() / FOLDER
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = folder / f"{time.time_ns()}-{os.getpid()}.json"
            self._lock = lock.take(file.with_suffix(LOCK))
            self._file = file
        where = None if path is None else str(path)
        body = {"path": where, "text": redacted(text), "changed": time.time()}
        write_atomic(self._file, json.dumps(body) + "\n")
        self._file.chmod(0o600)

    def drop(self) -> None:
        """The text is saved, or given up. Raises OSError."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._file.with_suffix(LOCK).unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Leave what is on disk to the next app."""
        self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def left_behind() -> list[LeftBehind]:
    """Texts that apps had not saved when they ended, the newest first."""
    try:
        files = sorted((paths.home() / FOLDER).glob("*.json"), reverse=True)
    except OSError:
        return []
    found = [one for file in files if not _in_use(file) and (one := _read(file)) is not None]
    return found[:MOST]


def _in_use(file: Path) -> bool:
    try:
        return lock.held(file.with_suffix(LOCK))
    except OSError:
        return False


def _read(file: Path) -> LeftBehind | None:
    """The text in a file; None where it is something else."""
    try:
        body = json.loads(read_text(file))
        path, text, changed = body["path"], body["text"], float(body["changed"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(text, str) or not (path is None or isinstance(path, str)):
        return None
    left = LeftBehind(file, Path(path) if path else None, text, changed)
    if left.path is not None and _holds(left.path, text):
        left.discard()  # it was saved after all
        return None
    return left


def _holds(path: Path, text: str) -> bool:
    try:
        return on_disk(path) == text
    except FtError:
        return False
