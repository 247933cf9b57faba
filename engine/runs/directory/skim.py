"""A run's events in a few hundred bytes: where it stands and its loss curve in outline.

It is carried on as the file grows, and leaves most steps undecoded, so that a thousand runs are read in seconds.
"""

import math
import os
import statistics
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import methodcaller
from pathlib import Path
from typing import Any, BinaryIO

from engine.runs.directory.events import (
    Event,
    Failed,
    Memory,
    Started,
    Step,
    beginning,
    decode,
    step_number,
    step_point,
)
from engine.runs.directory.state import OLD_STATUS, RunState, advance, superseded
from engine.runs.directory.totals import Sum, Totals
from engine.storage.regular_files import open_binary

POINTS = 31
"""Points of the outline at most; the last step's loss comes on top."""
OFTEN = (beginning(Step), beginning(Memory))
"""First bytes of the lines of which only some matter."""
RARELY = 3
"""Other lines are not so many that a file has fewer steps than this part of what would fill it."""
TAIL = 64
Point = tuple[int, float, float]
"""Step, loss, tokens per second."""
BLOCK = 1 << 20
"""Bytes of lines that are looked at together."""


@dataclass
class RunSkim:
    """Summary of a file up to `offset`, as `read` made it."""

    state: RunState = field(default_factory=RunState)
    """As the events say; whether the engine lives is not in it."""
    points: list[Point] = field(default_factory=list)
    """Of every `stride`-th step."""
    totals: Totals = field(default_factory=Totals)
    stride: int = 1
    steps: int = 0
    events: int = 0
    """Lines that were decoded; zero in a file with bytes means that nothing in it can be read."""
    unreadable: int = 0
    offset: int = 0
    tail: int = 0
    """Checksum of the bytes before `offset`: tells a file that has grown from one that was replaced."""

    @property
    def losses(self) -> tuple[float, ...]:
        """The outline of the training loss, the last step's at the end."""
        losses = [loss for _, loss, _ in self.points]
        if self.state.loss is not None and self.points and self.points[-1][0] != self.state.step:
            losses.append(self.state.loss)
        return tuple(losses)

    @property
    def tokens_per_s(self) -> float | None:
        """The usual speed: the median, which one slow step does not move."""
        return statistics.median(speed for _, _, speed in self.points) if self.points else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the cache."""
        body = {name: getattr(self, name) for name in _PLAIN} | {"state": asdict(self.state)}
        return body | {"points": self.points, "totals": self.totals.to_json()}

    @staticmethod
    def from_json(body: dict[str, Any]) -> "RunSkim":
        """Undo `to_json`. Raises KeyError, TypeError or ValueError where it is something else."""
        state = dict(body["state"])
        state["status"] = OLD_STATUS.get(state["status"], state["status"])
        error = state.pop("error")
        return RunSkim(
            state=RunState(**state, error=Failed(**error) if error else None),
            points=[(int(step), float(loss), float(speed)) for step, loss, speed in body["points"]],
            totals=Totals.from_json(body["totals"]),
            **{name: int(body[name]) for name in _PLAIN},
        )


_PLAIN = ("stride", "steps", "events", "unreadable", "offset", "tail")


def read(path: Path, before: RunSkim | None = None) -> RunSkim:
    """The skim of the file as it is now, continuing from `before` where the file has only grown.

    The result's state is what `engine.runs.directory.state.fold` makes of the same bytes. Raises OSError.
    """
    with open_binary(path) as file:
        skimmed = before if before is not None and _continues(file, before) else None
        size = os.fstat(file.fileno()).st_size
        reader = _Reader(skimmed or RunSkim())
        try:
            reader.read(file, size)
        except _SupersededError:
            reader = _Reader(RunSkim(), _limits(file, size))
            reader.read(file, size)
        reader.skimmed.tail = _checksum(file, reader.skimmed.offset)
        reader.skimmed.totals = reader.sum.totals()
        return reader.skimmed


class _SupersededError(Exception):
    """A start has made void what is in the skim so far: it has to be known beforehand."""


class _Reader:
    """Goes on with a skim. `limits`: the last step that holds before each start, where that is known."""

    def __init__(self, skimmed: RunSkim, limits: Sequence[int] | None = None) -> None:
        # A copy: reading may have to be given up half-way, and the old skim is still in use.
        self.skimmed = replace(skimmed, points=list(skimmed.points))
        self.limits = limits
        self.starts = 0
        self.sum = Sum(skimmed.totals)

    def read(self, file: BinaryIO, size: int) -> None:
        """Go on from the skim's offset to `size`, decoding only what matters. Raises _SupersededError."""
        for lines in _chunks(file, self.skimmed.offset, size):
            for often, group in groupby(lines, methodcaller("startswith", OFTEN)):
                if often:
                    self.take_often(list(group), size)
                else:
                    for line in group:
                        self.take(line, decode(line))
            self.skimmed.offset += sum(map(len, lines))

    def take_often(self, lines: list[bytes], size: int) -> None:
        """Take lines of `OFTEN` into account: all steps count, and of each kind the last makes the state."""
        steps = [line for line in lines if line.startswith(OFTEN[0])]
        kinds = bool(steps) + (len(lines) > len(steps))
        if self.limit is not None:
            steps = [line for line in steps if _number(line) <= self.limit]
        if not self.sum.steps(steps):
            for line in lines:
                self.take(line, decode(line))
            return
        if steps and self.skimmed.steps == 0:
            self.skimmed.stride = _stride((size - self.skimmed.offset) // (RARELY * len(steps[0])))
        self.skimmed.events += len(lines)
        self.outline(steps)
        for event in self.last_of_each(lines, kinds):
            if not isinstance(event, Step):
                self.sum.event(event)
            self.skimmed.state = advance(self.skimmed.state, event)

    def last_of_each(self, lines: list[bytes], kinds: int) -> list[Event]:
        """The last event that holds of each of so many kinds, in the order of the lines."""
        found: dict[bytes, Event] = {}
        for line in reversed(lines):
            start = OFTEN[not line.startswith(OFTEN[0])]
            if start not in found and (event := self.holding(decode(line))) is not None:
                found[start] = event
                if len(found) == kinds:
                    break
        return list(reversed(found.values()))

    def take(self, line: bytes, event: Event | None) -> None:
        """Take one line into account, and its event where it is one."""
        self.skimmed.events += event is not None
        self.skimmed.unreadable += event is None and not line.startswith(b"{")
        if isinstance(event, Started):
            if self.limits is None and self.voids(event):
                raise _SupersededError
            self.starts += 1
        event = self.holding(event)
        if isinstance(event, Step):
            self.point((event.step, event.loss, event.tokens_per_s))
        self.sum.event(event)
        if event is not None:
            self.skimmed.state = advance(self.skimmed.state, event)

    @property
    def limit(self) -> int | None:
        """The last step that a later start lets stand; None where none of them takes any back."""
        known = self.limits is not None and self.starts < len(self.limits)
        return self.limits[self.starts] if self.limits is not None and known else None

    def holding(self, event: Event | None) -> Event | None:
        """The event, unless a later start has made it void."""
        void = event is not None and self.limit is not None and superseded(event, self.limit)
        return None if void else event

    def voids(self, started: Started) -> bool:
        """Return True if a start takes back anything in the skim: steps, scores, the result, how the run ended."""
        last, state, sums = started.last_valid_step, self.skimmed.state, self.sum
        ended = bool(state.reason) or state.error is not None
        stepped = state.loss is not None and state.step > last
        scored = any(one is not None and one.step > last for one in (sums.first_eval, sums.last_eval))
        taken = [step for step in (state.best_step, state.published) if step is not None and step > last]
        return ended or stepped or scored or bool(taken)

    def outline(self, lines: Sequence[bytes]) -> None:
        """Make points of the curve of those steps whose turn it is."""
        skimmed, before = self.skimmed, self.skimmed.steps
        while (at := skimmed.steps + -skimmed.steps % skimmed.stride - before) < len(lines):
            skimmed.steps = before + at
            self.point(_point_of(lines[at]))
        skimmed.steps = before + len(lines)

    def point(self, point: Point | None) -> None:
        """Make a step a point of the curve, if it is its turn."""
        skimmed = self.skimmed
        if skimmed.steps % skimmed.stride == 0 and point is not None:
            skimmed.points.append(point)
        skimmed.steps += 1
        if len(skimmed.points) > POINTS:
            skimmed.points, skimmed.stride = skimmed.points[::2], skimmed.stride * 2


def _point_of(line: bytes) -> Point | None:
    point = step_point(line)
    if point is not None:
        return point
    event = decode(line)
    return (event.step, event.loss, event.tokens_per_s) if isinstance(event, Step) else None


def _stride(steps: int) -> int:
    """Every how many steps a point is taken of so many, a power of two; with more steps it doubles by itself."""
    return 1 << max(0, -(-steps // POINTS) - 1).bit_length()


def _limits(file: BinaryIO, size: int) -> list[int]:
    """For each number of starts seen, the lowest step that any later one resumes from."""
    starts: list[int] = []
    for lines in _chunks(file, 0, size):
        for line in lines:
            event = decode(line) if not line.startswith(OFTEN) and b"started" in line else None
            if isinstance(event, Started):
                starts.append(event.last_valid_step)
    return [min(starts[number:]) for number in range(len(starts))]


def _number(line: bytes) -> float:
    """A step's number, from its line; none is later than one that cannot be read."""
    number = step_number(line)
    return math.inf if number is None else number


def _chunks(file: BinaryIO, offset: int, size: int) -> Iterator[list[bytes]]:
    """The whole lines between two bytes, by the chunk. A torn last line is left out."""
    file.seek(offset)
    while offset < size and (lines := file.readlines(BLOCK)):
        offset += sum(map(len, lines))
        while lines and (offset > size or not lines[-1].endswith(b"\n")):
            offset -= len(lines.pop())
        if not lines:
            return
        yield lines


def _continues(file: BinaryIO, skimmed: RunSkim) -> bool:
    return skimmed.offset > 0 and _checksum(file, skimmed.offset) == skimmed.tail


def _checksum(file: BinaryIO, offset: int) -> int:
    start = max(0, offset - TAIL)
    file.seek(start)
    read = file.read(offset - start)
    return zlib.crc32(read) if len(read) == offset - start else -1
