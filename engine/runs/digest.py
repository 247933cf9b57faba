"""A run's events in a few hundred bytes: where it stands and its loss curve in outline.

It is carried on as the file grows, and leaves most steps undecoded, so that a thousand runs are read in seconds.
"""

import os
import statistics
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from engine.regular_files import open_binary
from engine.runs.events import Event, Failed, Memory, Started, Step, beginning, decode
from engine.runs.state import RunState, advance, superseded
from engine.runs.totals import Sum, Totals

POINTS = 31
"""Points of the outline at most; the last step's loss comes on top."""
OFTEN = (beginning(Step), beginning(Memory))
"""How the lines begin of which only some matter."""
RARELY = 3
"""Other lines are not so many that a file has fewer steps than this part of what would fill it."""
TAIL = 64


@dataclass
class Digest:
    """What `read` has made of a file up to `offset`."""

    state: RunState = field(default_factory=RunState)
    """As the events say; whether the engine lives is not in it."""
    points: list[tuple[int, float, float]] = field(default_factory=list)
    """Step, loss and tokens per second of every `stride`-th step."""
    totals: Totals = field(default_factory=Totals)
    stride: int = 1
    steps: int = 0
    events: int = 0
    """Lines that were decoded; zero in a file with bytes means that nothing in it can be read."""
    unreadable: int = 0
    offset: int = 0
    tail: int = 0
    """Checksum of the bytes before `offset`: tells a file that has grown from one written anew."""

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
    def from_json(body: dict[str, Any]) -> "Digest":
        """Undo `to_json`. Raises KeyError, TypeError or ValueError where it is something else."""
        state = dict(body["state"])
        error = state.pop("error")
        return Digest(
            state=RunState(**state, error=Failed(**error) if error else None),
            points=[(int(step), float(loss), float(speed)) for step, loss, speed in body["points"]],
            totals=Totals.from_json(body["totals"]),
            **{name: int(body[name]) for name in _PLAIN},
        )


_PLAIN = ("stride", "steps", "events", "unreadable", "offset", "tail")


def read(path: Path, before: Digest | None = None) -> Digest:
    """The digest of the file as it is now, going on from `before` where the file has only grown.

    The result's state is what `engine.runs.state.fold` makes of the same bytes. Raises OSError.
    """
    with open_binary(path) as file:
        digest = before if before is not None and _continues(file, before) else None
        reader = _Reader(digest or Digest())
        try:
            reader.skim(file)
        except _NeedsAllError:
            reader = _Reader(Digest())
            reader.read_all(file)
        reader.digest.tail = _checksum(file, reader.digest.offset)
        reader.digest.totals = reader.sum.totals()
        return reader.digest


class _NeedsAllError(Exception):
    """Skimming cannot tell: steps were superseded, or one that was passed over turns out to matter."""


class _Reader:
    def __init__(self, digest: Digest) -> None:
        # A copy: skimming may have to be given up half-way, and the old digest is still in use.
        self.digest = replace(digest, points=list(digest.points))
        self.held: dict[bytes, bytes | Step] = {}
        """The last lines that were only counted, by how they begin, in the order of the file."""
        self.sum = Sum(digest.totals)

    def skim(self, file: BinaryIO) -> None:
        """Go on from the digest's offset, decoding only the steps that matter."""
        size = os.fstat(file.fileno()).st_size
        for line in _whole_lines(file, self.digest):
            start = next((start for start in OFTEN if line.startswith(start)), None)
            if start == OFTEN[0] and self.digest.steps == 0:
                self.digest.stride = _stride((size - self.digest.offset) // (RARELY * len(line)))
            if start is None:
                self.let_go()
                event = self.decoded(line)
                if isinstance(event, Started) and self.voids(event):
                    raise _NeedsAllError
                self.take(event)
            elif start == OFTEN[0] and self.digest.steps % self.digest.stride == 0:
                event = self.decoded(line)
                if isinstance(event, Step):
                    self.outline(event)
                    self.sum.event(event)
                    self.hold(start, event)
            else:
                if start == OFTEN[0]:
                    self.digest.steps += 1
                    if not self.sum.step_line(line):
                        self.sum.event(decode(line))
                self.hold(start, line)
        self.let_go()

    def read_all(self, file: BinaryIO) -> None:
        """Read from the start in two passes, leaving out what later starts have made void."""
        for line, event in _holding(file, self.digest):
            self.count(line, event)
            self.take(event)

    def hold(self, start: bytes, line: bytes | Step) -> None:
        """Remember a line as the last that begins so."""
        self.held.pop(start, None)
        self.held[start] = line

    def let_go(self) -> None:
        """Take what was held into account; steps are in the sums already."""
        for held in self.held.values():
            event = self.decoded(held) if isinstance(held, bytes) else held
            if event is None:
                raise _NeedsAllError
            if not isinstance(event, Step):
                self.sum.event(event)
            self.digest.state = advance(self.digest.state, event)
        self.held.clear()

    def decoded(self, line: bytes) -> Event | None:
        event = decode(line)
        self.count(line, event)
        return event

    def count(self, line: bytes, event: Event | None) -> None:
        self.digest.events += event is not None
        self.digest.unreadable += event is None and not line.startswith(b"{")

    def voids(self, started: Started) -> bool:
        """Whether a start takes back anything that is in the digest: steps, the best, how the run ended."""
        last, state = _resumes(started), self.digest.state
        ended = bool(state.reason) or state.error is not None
        stepped = state.loss is not None and state.step > last
        scored = self.sum.last_eval is not None and self.sum.last_eval.step > last
        return ended or stepped or scored or (state.best_step is not None and state.best_step > last)

    def take(self, event: Event | None) -> None:
        if isinstance(event, Step):
            self.outline(event)
        self.sum.event(event)
        if event is not None:
            self.digest.state = advance(self.digest.state, event)

    def outline(self, step: Step) -> None:
        """Make a step a point of the curve, if it is its turn."""
        digest = self.digest
        if digest.steps % digest.stride == 0:
            digest.points.append((step.step, step.loss, step.tokens_per_s))
        digest.steps += 1
        if len(digest.points) > POINTS:
            digest.points, digest.stride = digest.points[::2], digest.stride * 2


def _stride(steps: int) -> int:
    """Every how many steps a point is taken of so many, a power of two; with more steps it doubles by itself."""
    return 1 << max(0, -(-steps // POINTS) - 1).bit_length()


def _holding(file: BinaryIO, digest: Digest) -> Iterator[tuple[bytes, Event | None]]:
    """The file's lines with their events, without those that a later start has made void, in two passes."""
    starts: list[int] = []
    for line in _whole_lines(file, Digest()):
        event = decode(line) if b"started" in line else None
        if isinstance(event, Started):
            starts.append(_resumes(event))
    limits = [min(starts[i:]) for i in range(len(starts))]
    seen = 0
    for line in _whole_lines(file, digest):
        event = decode(line)
        seen += isinstance(event, Started)
        if event is None or seen >= len(starts) or not superseded(event, limits[seen]):
            yield line, event


def _resumes(started: Started) -> int:
    return -1 if started.resumed_from is None else started.resumed_from


def _whole_lines(file: BinaryIO, digest: Digest) -> Iterator[bytes]:
    """The whole lines from the digest's offset on, which moves along."""
    file.seek(digest.offset)
    for line in file:
        if not line.endswith(b"\n"):
            return
        digest.offset += len(line)
        yield line


def _continues(file: BinaryIO, digest: Digest) -> bool:
    return digest.offset > 0 and _checksum(file, digest.offset) == digest.tail


def _checksum(file: BinaryIO, offset: int) -> int:
    start = max(0, offset - TAIL)
    file.seek(start)
    read = file.read(offset - start)
    return zlib.crc32(read) if len(read) == offset - start else -1
