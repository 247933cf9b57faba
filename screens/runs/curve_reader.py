"""Loss curves of several runs, read by a worker and kept for as long as they may be shown again."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from textual.message import Message

from engine.runs.curves import zoom
from engine.runs.curves.series import RunSeries
from engine.runs.curves.zoom import Part
from engine.runs.directory import log, registry
from engine.runs.directory.events import Event, Memory, beginning

KEPT = 24
"""Runs whose curves are kept in memory."""
CHUNK = 1 << 18
SMOOTHED = ("loss",)
PASSED_OVER = (beginning(Memory),)
"""Not drawn here, and half of all lines."""


@dataclass
class Curve:
    """A run's series as far as `offset` in its events."""

    series: RunSeries
    offset: int = 0


class CurveNews(Message):
    """Something was read of a run's curve."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id


class CurveRead(CurveNews):
    """A run's curve, read from its start. The one who takes it owns the series from then on."""

    def __init__(self, run_id: str, curve: Curve) -> None:
        super().__init__(run_id)
        self.curve = curve


class CurveGrown(CurveNews):
    """Events that a run has written after those at `start`."""

    def __init__(self, run_id: str, start: int, end: int, events: tuple[Event, ...]) -> None:
        super().__init__(run_id)
        self.start = start
        self.end = end
        self.events = events


class CurveReading(CurveNews):
    """Share of a run's file that has been read, from 0 to 1."""

    def __init__(self, run_id: str, share: float) -> None:
        super().__init__(run_id)
        self.share = share


class PartRead(CurveNews):
    """Steps of a run that were read again, to be shown singly."""

    def __init__(self, run_id: str, part: Part, series: RunSeries) -> None:
        super().__init__(run_id)
        self.part = part
        self.series = series


@dataclass(frozen=True)
class Wanted:
    """A run whose curve is to be shown; `offset` is how far it has been read, None for not at all."""

    run_id: str
    folder: Path
    offset: int | None
    smoothing: float


def read_curve(wanted: Wanted, post: Callable[[Message], object], cancelled: Callable[[], bool]) -> None:
    """Read what is wanted and post it. A run that cannot be read has an empty curve. Blocks."""
    file, offset = wanted.folder / registry.EVENTS, wanted.offset
    with contextlib.suppress(OSError):
        if offset is not None and file.stat().st_size < offset:
            offset = None  # another file took its place
    if offset is None:
        curve = _whole(wanted.run_id, file, post, cancelled)
        if curve is not None:
            for _ in curve.series.smoothing(SMOOTHED, wanted.smoothing):
                pass
            post(CurveRead(wanted.run_id, curve))
    else:
        _grown(wanted.run_id, file, offset, post, cancelled)


def read_part(
    run_id: str,
    file: Path,
    part: Part,
    series: RunSeries,
    smoothing: float,
    post: Callable[[Message], object],
    cancelled: threading.Event,
) -> None:
    """Read steps again that the curve no longer holds singly, and post them. Blocks."""
    with contextlib.suppress(OSError):  # gone: the curve stays as it is
        zoom.read(file, part, series, cancelled)
    for _ in series.smoothing(SMOOTHED, smoothing):
        pass
    post(PartRead(run_id, part, series))


def _whole(
    run_id: str, file: Path, post: Callable[[Message], object], cancelled: Callable[[], bool]
) -> Curve | None:
    curve = Curve(RunSeries())
    with contextlib.suppress(OSError):  # gone or unreadable: the list says so, and the curve is empty
        size = file.stat().st_size
        while not cancelled():
            events, offset = log.chunk(file, curve.offset, CHUNK, PASSED_OVER)
            if offset == curve.offset:
                return curve
            curve.offset = offset
            for event in events:
                curve.series.feed(event)
            curve.series.fed(offset)
            post(CurveReading(run_id, min(1.0, offset / size)))
        return None
    return curve


def _grown(
    run_id: str, file: Path, offset: int, post: Callable[[Message], object], cancelled: Callable[[], bool]
) -> None:
    with contextlib.suppress(OSError):
        while not cancelled():
            events, end = log.chunk(file, offset, CHUNK >> 2, PASSED_OVER)
            if end == offset:
                return
            post(CurveGrown(run_id, offset, end, tuple(events)))
            offset = end


class Curves:
    """The curves read so far, the least lately shown forgotten first."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Curve] = OrderedDict()

    def get(self, run_id: str) -> Curve | None:
        """The curve of a run, if it has been read."""
        if run_id in self._held:
            self._held.move_to_end(run_id)
        return self._held.get(run_id)

    def take(self, message: CurveRead) -> None:
        """Keep a curve that was read from its start."""
        self._held[message.run_id] = message.curve
        self._held.move_to_end(message.run_id)
        while len(self._held) > KEPT:
            self._held.popitem(last=False)

    def grow(self, message: CurveGrown) -> bool:
        """Take on what a run has written; False where it is not what comes next."""
        curve = self._held.get(message.run_id)
        if curve is None or curve.offset != message.start:
            return False
        for event in message.events:
            curve.series.feed(event)
        curve.series.fed(message.end)
        curve.offset = message.end
        return True
