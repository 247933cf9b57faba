"""Stop texts: an answer ends where one begins, also where it is spread over several tokens."""

from collections.abc import Sequence


def could_begin(text: str, marks: Sequence[str]) -> int:
    """Length of the longest end of `text` with which one of the marks could begin."""
    longest = min(len(text), max(map(len, marks), default=1) - 1)
    ends = (size for size in range(longest, 0, -1) if any(mark.startswith(text[-size:]) for mark in marks))
    return next(ends, 0)


class StopText:
    """Cuts a text that comes in pieces before the stop text that is complete first. No part of that is ever given out,
    and it does not matter where the pieces are cut."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def take(self, piece: str) -> str:
        """What is certain to belong to the answer, now that it has gone on with `piece`."""
        self._held += piece
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._give(min(found)[1])
        return self._give(len(self._held) - could_begin(self._held, self._stops))

    def rest(self) -> str:
        """What was held back, where the answer ends without a stop text."""
        return "" if self.stopped else self._give(len(self._held))

    def _give(self, length: int) -> str:
        given, self._held = self._held[:length], self._held[length:]
        return given


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """A whole text up to the stop text that is complete first, and True if there was one."""
    stop = StopText(stops)
    given = stop.take(text)
    return given + stop.rest(), stop.stopped
