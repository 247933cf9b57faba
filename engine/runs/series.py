"""What a run measured, as lines to be drawn: by step, by time or by tokens."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from engine.runs.events import Acknowledged, Eval, Event, Memory, Sample, Saved, Started, Step
from engine.runs.pyramid import CAPACITY, NAN, Axis, Pyramid, is_number

AxisName = Literal["step", "time", "tokens"]
AXES: tuple[AxisName, ...] = ("step", "time", "tokens")
"""Steps of the optimizer; seconds of training; tokens learned from."""
STEP_NAMES = ("loss", "lr", "grad_norm", "tokens_per_s")
MEMORY_NAMES = ("process_bytes", "device_bytes", "system_used_bytes")
NAMES = (*STEP_NAMES, "eval_loss", *MEMORY_NAMES)
MARKS = 1024
"""Marks that are kept of a run."""
MarkKind = Literal["checkpoint", "best", "resumed", "sample"]


class Bucket(NamedTuple):
    """The points of one column. The four values are all that a line needs to be drawn as if all points were
    (M4: Jugel et al., VLDB 2014). `first` and `last` are NaN where the line is broken there; `low` and `high`
    are inf and -inf where the column has nothing but gaps."""

    x: float
    low: float
    high: float
    last: float
    first: float


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step."""

    step: int
    kind: MarkKind
    label: str


class Series:
    """Points (x, y) in the order of x, to which one only appends. Not for two threads at once."""

    def __init__(
        self, axis: Axis | None = None, values: Pyramid | None = None, capacity: int = CAPACITY
    ) -> None:
        self._axis = Axis(capacity) if axis is None else axis  # an empty one is falsy
        self._values = Pyramid(capacity) if values is None else values

    def append(self, x: float, y: float) -> None:
        """Add a point. A y that is no finite number is a gap; an x that is none is left out."""
        if is_number(x):
            self._axis.append(x)
            self._values.append(y)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def stride(self) -> int:
        """Points an entry: above 1 where the series has outgrown its capacity, and single points are gone."""
        return self._values.stride

    def window(self, x0: float, x1: float, buckets: int) -> list[Bucket | None]:
        """What lies in each of `buckets` columns of the same width from `x0` to `x1`; None where nothing does.

        The last column has both its ends.
        """
        xs, ys, extremes = self._axis.xs, self._values.values, self._values.extremes
        count = min(len(xs), len(ys))
        end = bisect_right(xs, x1, 0, count)
        start = bisect_left(xs, x0, 0, end)
        found: list[Bucket | None] = []
        for column in range(1, buckets + 1):
            edge = x0 + (x1 - x0) * column / buckets
            stop = end if column == buckets or edge >= x1 else bisect_left(xs, edge, start, end)
            if start < stop:
                low, high = extremes(start, stop)
                found.append(Bucket(xs[start], low, high, ys[stop - 1], ys[start]))
            else:
                found.append(None)
            start = stop
        return found

    def bounds(self) -> tuple[float, float, float, float] | None:
        """Smallest and largest x, smallest and largest y; None while there is nothing to draw."""
        low, high = self._values.extremes(0, len(self._values.values))
        return (self._axis.xs[0], self._axis.last, low, high) if low <= high else None

    def nearest(self, x: float) -> tuple[float, float] | None:
        """The point nearest to `x` along the axis; its y is NaN in a gap."""
        xs = self._axis.xs
        if not xs:
            return None
        after = bisect_left(xs, x)
        best = min((i for i in (after - 1, after) if 0 <= i < len(xs)), key=lambda i: abs(xs[i] - x))
        return xs[best], self._values.values[best]

    def before(self, x: float) -> tuple[float, float] | None:
        """The last point before `x`."""
        i = bisect_left(self._axis.xs, x) - 1
        return (self._axis.xs[i], self._values.values[i]) if i >= 0 else None

    def after(self, x: float) -> tuple[float, float] | None:
        """The first point after `x`."""
        i = bisect_right(self._axis.xs, x)
        return (self._axis.xs[i], self._values.values[i]) if i < len(self._axis.xs) else None

    def points(self, x0: float, x1: float) -> Iterator[tuple[float, float]]:
        """The points from `x0` to `x1`, the gaps too."""
        xs, ys = self._axis.xs, self._values.values
        for i in range(bisect_left(xs, x0), bisect_right(xs, x1)):
            yield xs[i], ys[i]

    def smoothed(self, weight: float) -> "Series":
        """The exponential moving average: `weight` of the past from 0 to 1. It grows with this series."""
        return Series(self._axis, self._values.smoothed(weight))


class _Table:
    """Values that are measured together, with their places on all axes."""

    def __init__(self, names: tuple[str, ...], capacity: int) -> None:
        self.axes = {axis: Axis(capacity) for axis in AXES}
        self.columns = {name: Pyramid(capacity) for name in names}

    def append(self, step: float, time: float, tokens: float, values: tuple[float, ...]) -> None:
        for axis, x in zip(self.axes.values(), (step, time, tokens), strict=True):
            axis.append(x)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)

    def at(self, step: float) -> tuple[float, float] | None:
        """Time and tokens of the last row up to a step."""
        i = bisect_right(self.axes["step"].xs, step) - 1
        return (self.axes["time"].xs[i], self.axes["tokens"].xs[i]) if i >= 0 else None

    def drop_after(self, step: float) -> None:
        axis = self.axes["step"]
        keep = bisect_right(axis.xs, step)
        if axis.stride > 1 and axis.last > step:
            keep -= 1  # its entry holds later rows too
        for place in self.axes.values():
            place.truncate(max(0, keep))
        for column in self.columns.values():
            column.truncate(max(0, keep))


class RunSeries:
    """The curves and marks of one run, fed with its events from the first on.

    `steps` keeps only the points of a span of steps, so that what a long run has thinned out can be read again
    from its file. Not for two threads at once.
    """

    def __init__(self, steps: tuple[int, int] | None = None, capacity: int = CAPACITY) -> None:
        self._steps = steps
        self._of_steps = _Table(STEP_NAMES, capacity)
        self._of_evals = _Table(("eval_loss",), capacity)
        self._of_memory = _Table(MEMORY_NAMES, capacity)
        self._tables = (self._of_steps, self._of_evals, self._of_memory)
        self._marks: list[Mark] = []
        self._bests: list[Mark] = []
        self._saved: dict[int, tuple[float, float]] = {}  # time and tokens at each checkpoint
        self._origin: float | None = None  # unix seconds of the first start
        self._lost = 0.0  # seconds of pauses, and between an end and the resume
        self._paused: float | None = None
        self._step, self._tokens = 0, 0.0

    def feed(self, event: Event) -> None:
        """Take an event in; a resumed run drops the steps that it goes through again."""
        if self._origin is None:
            self._origin = event.t
        match event:
            case Started():
                self._start(event)
            case Step():
                self._step = event.step
                self._tokens += event.trained_tokens
                self._add(self._of_steps, event, (event.loss, event.lr, event.grad_norm, event.tokens_per_s))
            case Eval():
                self._step = max(self._step, event.step)
                self._add(self._of_evals, event, (event.loss,))
                if event.best:
                    self._bests.append(Mark(event.step, "best", f"best {event.loss:.4g}"))
            case Memory():
                read = (event.process_bytes, event.device_bytes, event.system_used_bytes)
                values = tuple(NAN if value is None else float(value) for value in read)
                self._add(self._of_memory, event, values)
            case Saved(kind="checkpoint"):
                self._save(event)
                self._mark(Mark(event.step, "checkpoint", f"checkpoint {event.step}"))
            case Sample():
                if not any(mark.kind == "sample" and mark.step == event.step for mark in self._marks[-1:]):
                    self._mark(Mark(event.step, "sample", f"samples {event.step}"))
            case Acknowledged(command="pause"):
                self._paused = self._paused or event.t
            case Acknowledged(command="resume") if self._paused is not None:
                self._lost += max(0.0, event.t - self._paused)
                self._paused = None

    def series(self, name: str, axis: AxisName) -> Series:
        """The points of one of `NAMES`; it grows as the run is fed. Raises KeyError for another name."""
        table = next((t for t in self._tables if name in t.columns), None)
        if table is None:
            raise KeyError(name)
        return Series(table.axes[axis], table.columns[name])

    @property
    def marks(self) -> list[Mark]:
        """What happened, in order; the best evaluation last, and only the one that is the best now."""
        return [*self._marks, *self._bests[-1:]]

    def position(self, step: int, axis: AxisName) -> float | None:
        """Where a step lies on an axis; None before the first step is known."""
        if axis == "step":
            return float(step)
        place = self._saved.get(step) or self._of_steps.at(step) or self._of_evals.at(step)
        return None if place is None else place[axis == "tokens"]

    def _start(self, event: Started) -> None:
        """Go back to where the engine took up the run: at its beginning, or at a checkpoint."""
        back = -1 if event.resumed_from is None else event.resumed_from
        place = self._saved.get(back) or self._of_steps.at(back) or (0.0, 0.0)
        for table in self._tables:
            table.drop_after(back)
        self._marks = [mark for mark in self._marks if mark.step <= back]
        self._bests = [mark for mark in self._bests if mark.step <= back]
        self._saved = {step: at for step, at in self._saved.items() if step <= back}
        self._step, self._paused = max(back, 0), None
        self._tokens = place[1]
        if back < 0:
            self._origin, self._lost = event.t, 0.0
        else:
            self._lost = event.t - (self._origin or 0.0) - place[0]
            self._mark(Mark(back, "resumed", f"resumed from {back}"))

    def _mark(self, mark: Mark) -> None:
        """Add a mark; of more than a screen can show, every second goes."""
        self._marks.append(mark)
        if len(self._marks) > MARKS:
            self._marks = [old for i, old in enumerate(self._marks) if i % 2 or old.kind == "resumed"]

    def _save(self, event: Saved) -> None:
        """Remember where a checkpoint lies; of the oldest of very many, their neighbours tell about."""
        self._saved[event.step] = (self._elapsed(event.t), self._tokens)
        if len(self._saved) > MARKS:
            self._saved = dict(list(self._saved.items())[MARKS // 2 :])

    def _elapsed(self, t: float) -> float:
        return max(0.0, (t if self._paused is None else self._paused) - (self._origin or 0.0) - self._lost)

    def _add(self, table: _Table, event: Event, values: tuple[float, ...]) -> None:
        step = event.step if isinstance(event, Step | Eval) else self._step
        if self._steps is None or self._steps[0] <= step <= self._steps[1]:
            table.append(step, self._elapsed(event.t), self._tokens, values)
