"""Parts of a long run that are read again from its file, since its curves keep a bounded number of points."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from engine.runs.directory import log
from engine.runs.directory.events import Event

FINE = 1 << 14
"""Steps, at most, that are shown with each of their points."""
MARGIN = 1000
"""Steps that are read before those at least: in them a smoothed line forgets that it began again."""
ROOM = 2 * FINE
"""Points that the series of a part has room for."""
PARTS = 5
"""Parts that are cached: one for each of Monitor's charts, which may all be zoomed in."""
CHUNK = 1 << 16
PLACES = 1024
"""Places in the file that are remembered."""


@dataclass(frozen=True)
class Standing:
    """Standing of a run at a byte of its file, from where it can be read on."""

    offset: int = 0
    step: int = 0
    tokens: float = 0.0
    origin: float | None = None
    lost: float = 0.0
    paused: float | None = None


@dataclass(frozen=True)
class Part:
    """Steps of a run, both ends too, and the bytes of its file that tell of them."""

    first: int
    last: int | None
    """None: and all that come."""
    start: Standing
    end: int

    def has(self, step: int) -> bool:
        return self.first <= step and (self.last is None or step <= self.last)


class Points(Protocol):
    """The series of a part."""

    def feed(self, event: Event) -> None: ...

    @property
    def thinned(self) -> bool: ...


Detail = TypeVar("Detail", bound=Points)


class DetailCache(Generic[Detail]):
    """Index of the places of steps in the file, and a cache of the parts that were read again."""

    def __init__(self) -> None:
        self.parts: list[tuple[Part, Detail]] = []
        """The newest first."""
        self.changes = 0
        self._been = [Standing()]
        self._end = 0
        self._since: list[Event] | None = None
        """Fed since a part was asked for, which may have to continue with them."""

    def fed(self, standing: Standing) -> None:
        """The file has been fed up to here."""
        self._end = standing.offset
        self._been.append(standing)
        if len(self._been) > PLACES:
            self._been = self._been[::2]

    def feed(self, event: Event) -> None:
        """Keep feeding those parts that reach up to the newest step."""
        if self._since is not None:
            self._since.append(event)
        for part, series in self.parts:
            if part.last is None:
                series.feed(event)

    def start(self, back: int) -> None:
        """A run continues from the step `back`: the parts of later ones no longer hold."""
        self._been = [place for place in self._been if place.step <= back] or [Standing()]
        self._since = None
        if self.parts:
            self.parts = []
            self.changes += 1

    def missing(self, first: int, last: int | None, newest: int) -> Part | None:
        """Part to read for these steps (`last` None: up to the newest); None where they are known, or too many."""
        outgrown = [each for each in self.parts if each[1].thinned]
        if outgrown:
            self.parts = [each for each in self.parts if each not in outgrown]
            self.changes += 1
        end = newest if last is None else last
        if end - first > FINE or any(_holds(part, first, last) for part, _ in self.parts):
            return None
        room = MARGIN + (end - first) // 4
        start = max(
            (place for place in self._been if place.step < first - room), key=_offset, default=Standing()
        )
        if end + room >= newest:
            return Part(first - room, None, start, self._end)
        beyond = (place.offset for place in self._been if place.step > end + room)
        return Part(first - room, end + room, start, min(beyond, default=self._end))

    def ask(self) -> None:
        """A part is being read: remember what is fed meanwhile."""
        self._since = []

    def take(self, part: Part, series: Detail) -> None:
        """Keep a part that was read; one that has been asked for before the run was resumed is void."""
        since, self._since = self._since, None
        if since is None:
            return
        if part.last is None:
            for event in since:
                series.feed(event)
        self.parts = [(part, series), *self.parts][:PARTS]
        self.changes += 1


def read(path: Path, part: Part, series: Points, cancelled: threading.Event) -> None:
    """Feed the series of a part with what the file tells of it. Blocks; raises OSError."""
    offset = part.start.offset
    while offset < part.end and not cancelled.is_set():
        events, following = log.chunk(path, offset, min(CHUNK, part.end - offset))
        if following == offset:
            return
        for event in events:
            series.feed(event)
        offset = following


def _holds(part: Part, first: int, last: int | None) -> bool:
    return part.first < first and (part.last is None or (last is not None and last < part.last))


def _offset(place: Standing) -> int:
    return place.offset
