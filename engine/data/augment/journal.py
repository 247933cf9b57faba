"""Journal of a model's answers, kept in the folder until all rows are made, so that a stopped call can continue."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engine.data.types import Completion
from engine.errors import ConfigError

NAME = ".augment.jsonl"
"""Hidden, so that a folder of rows does not take it for some."""
Key = tuple[int, int, int]
"""Numbers of the try, the step and the row."""


class Journal:
    """A line for the key of all that the answers depend on, then one for each batch of them."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file, self._path = file, path
        self.answers: dict[Key, Completion] = {}

    def begin(self, key: str) -> None:
        """Take up the answers of an earlier run of the same `key`. Raises ConfigError where it was of another."""
        self._file.seek(0)
        lines = [
            line for line in self._file if line.endswith("\n")
        ]  # torn is the line of a process that was killed
        for line in lines[1:]:
            self.answers |= {tuple(where): Completion(text, ended) for where, text, ended in json.loads(line)}
        if self.answers and json.loads(lines[0]) != key:
            raise ConfigError(
                f"{self._path.parent} holds rows that were begun from other rows or with other options.",
                "Give the same again to continue with them; or remove the folder, or name a new one.",
            )
        os.ftruncate(self._file.fileno(), sum(len(line.encode()) for line in lines) if self.answers else 0)
        self._file.seek(0, os.SEEK_END)
        if not self.answers:
            self._write(json.dumps(key))

    def add(self, answers: Mapping[Key, Completion]) -> None:
        """Keep the answers of one batch. Raises OSError where the disk takes no more."""
        self.answers |= answers
        self._write(json.dumps([[where, one.text, one.ended] for where, one in answers.items()]))

    def _write(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """The journal of a folder that is new, or that an earlier run has left unfinished; for this process alone.

    It is removed when the block ends well. When not, what was answered stays; where nothing was, the folder is emptied.
    Raises ConfigError where another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder}: another process makes rows there.", "Wait for its end.") from None
        journal = Journal(file, path)
        try:
            yield journal
        except BaseException:
            if not journal.answers:
                for left in folder.iterdir():
                    left.unlink()
            raise
        path.unlink()
