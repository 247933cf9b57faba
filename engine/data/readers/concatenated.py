"""Any row of several files, as if they were one."""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from threading import RLock

from engine.data.readers.random_access import Rows
from engine.data.readers.table import Origin
from engine.errors import DataError

AT_ONCE_S = 0.1
"""Seconds for which files are opened before an answer is given."""


class JoinedRows:
    """The rows of several files, one after the other; the next is opened when the one before is counted."""

    def __init__(self, name: str, openers: Sequence[Callable[[], Rows]]) -> None:
        self.name = name
        self._openers = openers
        self._parts: list[Rows] = []
        self._starts = [0]
        """Number of the first row of each part that is counted, and of the one after them."""
        self.error: DataError | None = None
        self._lock = RLock()

    @property
    def known(self) -> int:
        self._go_on()
        open_ = self._parts[len(self._starts) - 1 :]
        return self._starts[-1] + (open_[0].known if open_ else 0)

    @property
    def counting(self) -> float | None:
        self._go_on()
        if self.error is not None or len(self._starts) > len(self._openers):
            return None
        share = self._parts[-1].counting if len(self._parts) == len(self._starts) else 0.0
        return (len(self._starts) - 1 + (share or 0.0)) / len(self._openers)

    def read(self, row: int) -> Origin:
        part, first = self._part(row)
        return part.read(row - first)

    def raw(self, row: int) -> str:
        part, first = self._part(row)
        return part.raw(row - first)

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def parts(self) -> Iterator[tuple[int, Rows]]:
        """Number of the first row of each file that is open, and its rows."""
        return zip(self._starts, self._parts, strict=False)

    def _part(self, row: int) -> tuple[Rows, int]:
        if not 0 <= row < self.known:
            raise IndexError(row)
        number = bisect_right(self._starts, row) - 1
        return self._parts[number], self._starts[number]

    def _go_on(self) -> None:
        """Open the next file where the last one is counted; some at a time, so that whoever asks has an answer soon."""
        until = time.monotonic() + AT_ONCE_S
        with self._lock:
            while self.error is None and self._next() and time.monotonic() < until:
                """The parts themselves know if there is more."""

    def _next(self) -> bool:
        """One step on; False where there is none, or one that has to be waited for."""
        if len(self._parts) == len(self._starts):
            last = self._parts[-1]
            if last.counting is not None:
                return False
            self.error = last.error
            self._starts.append(self._starts[-1] + last.known)
            return True
        if len(self._parts) == len(self._openers):
            return False
        try:
            self._parts.append(self._openers[len(self._parts)]())
        except DataError as error:
            self.error = error
        return True
