"""Curves of a run by step, by time or by tokens: its losses, its memory, and whatever metrics it reports."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.metrics.registry import EVAL_LOSS, written
from engine.runs.curves.downsample import Finer, Series
from engine.runs.curves.pyramid import CAPACITY, NAN, Axis, Pyramid, Smoothed
from engine.runs.curves.zoom import ROOM, DetailCache, Part, Standing
from engine.runs.directory.events import Acknowledged, Eval, Event, Memory, Sample, Saved, Started, Step
from engine.units import one_line

AxisName = Literal["step", "time", "tokens"]
AXES: tuple[AxisName, ...] = ("step", "time", "tokens")
"""Steps of the optimizer; seconds of training; tokens learned from."""
STEP_NAMES = ("loss", "lr", "grad_norm", "tokens_per_s")
MEMORY_NAMES = ("process_bytes", "device_bytes", "system_used_bytes")
EVAL = "eval_"
"""Prefix of an evaluation's metrics, so that a step's metric of the same name has a curve of its own."""
MARKS = 1024
"""Marks that are kept of a run."""
MarkKind = Literal["checkpoint", "best", "resumed", "sample"]


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step."""

    step: int
    kind: MarkKind
    label: str


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

    What a long run has thinned out is read again from its file where somebody looks closely (`DetailCache`). For
    this, `fed` has to be told how far the file has been read. Not for two threads simultaneously.
    """

    def __init__(self, capacity: int = CAPACITY, part: Part | None = None) -> None:
        """With `part`, only its points are kept, and the first event is its first."""
        standing = part.start if part else Standing()
        self._part = part
        self._of_steps = _Table(STEP_NAMES, capacity)
        self._of_evals = _Table((EVAL_LOSS,), capacity)
        self._of_memory = _Table(MEMORY_NAMES, capacity)
        self._capacity = capacity
        self._of_metrics: dict[str, _Table] = {}
        """A table each, as they come: one that is reported from some step on has no places before it."""
        self.step_metrics: list[str] = []
        """Names of the metrics that steps have reported besides `STEP_NAMES`, in the order in which they came."""
        self.eval_metrics: list[str] = []
        """Those that evaluations have reported besides the loss; their curves are named with `EVAL` in front."""
        self._marks: list[Mark] = []
        self._bests: list[Mark] = []
        self._saved: dict[int, tuple[float, float]] = {}  # time and tokens at each checkpoint
        self._origin = standing.origin  # unix seconds of the first start
        self._lost = standing.lost  # seconds of pauses, and between an end and the resume
        self._paused = standing.paused
        self._step, self._tokens = standing.step, standing.tokens
        self._smoothed: list[Smoothed] = []
        self._closer: DetailCache[RunSeries] = DetailCache()

    def feed(self, event: Event) -> None:
        """Take an event in; a resumed run drops the steps that it goes through again."""
        self._closer.feed(event)
        if self._origin is None:
            self._origin = event.t
        match event:
            case Started():
                self._start(event)
            case Step():
                self._step = event.step
                self._tokens += event.trained_tokens
                self._add(self._of_steps, event, (event.loss, event.lr, event.grad_norm, event.tokens_per_s))
                for name, value in event.metrics.items():
                    self._add(self._metric(name, self.step_metrics, name), event, (value,))
            case Eval():
                self._step = max(self._step, event.step)
                self._add(self._of_evals, event, (event.loss,))
                for name, value in event.metrics.items():
                    if name != "perplexity":  # which says what the loss says
                        self._add(self._metric(EVAL + name, self.eval_metrics, name), event, (value,))
                if event.best:
                    self._bests = [*self._bests[1 - MARKS :], Mark(event.step, "best", _label(event))]
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
        """The points of one of `STEP_NAMES`, `MEMORY_NAMES`, `eval_loss` or the metrics; it grows as the run is fed.

        Raises KeyError for another name.
        """
        table = self._table(name)
        if table is None:
            raise KeyError(name)
        finer = [
            Finer(series.series(name, axis), series._of_steps.axes[axis], part.first <= 1, part.last is None)
            for part, series in self._closer.parts
            if table.columns[name].stride > 1 and series._table(name) is not None
        ]
        return Series(table.axes[axis], table.columns[name], finer=finer)

    @property
    def _tables(self) -> list[_Table]:
        return [self._of_steps, self._of_evals, self._of_memory, *self._of_metrics.values()]

    def _table(self, name: str) -> _Table | None:
        if name in self._of_metrics:
            return self._of_metrics[name]
        return next((table for table in self._tables if name in table.columns), None)

    def _metric(self, curve: str, names: list[str], name: str) -> _Table:
        """The table of a metric, made when it is reported first."""
        if curve not in self._of_metrics:
            self._of_metrics[curve] = _Table((curve,), self._capacity)
            names.append(name)
        return self._of_metrics[curve]

    def smoothing(self, names: Sequence[str], weight: float) -> Iterator[None]:
        """Smooth these curves a portion at a time, and keep them so in place of those of the time before."""
        done = []
        for table in self._tables:
            for name in table.columns.keys() & set(names):
                smooth = yield from table.columns[name].smoothing(weight)
                done.append(smooth)
        self._smoothed = done
        for _, series in self._closer.parts:
            yield from series.smoothing(names, weight)

    # Looking closely

    def fed(self, offset: int) -> None:
        """All that the file has up to this byte has been fed."""
        now = Standing(offset, self._step, self._tokens, self._origin, self._lost, self._paused)
        self._closer.fed(now)

    def missing(self, axis: AxisName, x0: float, x1: float) -> Part | None:
        """Part to read again to show each point between two places; None: nothing, or too much."""
        axes = self._of_steps.axes
        xs, steps = axes[axis].xs, axes["step"]
        if steps.stride == 1 or not xs:
            return None
        first = steps.xs[max(0, bisect_right(xs, x0) - 1)]
        after = bisect_left(xs, x1)
        last = int(steps.xs[after]) if after < len(xs) else None
        return self._closer.missing(int(first), last, int(steps.last))

    def again(self, part: Part) -> "RunSeries":
        """To be fed with the events from `part.start.offset` to `part.end`, by any thread, for `refine`."""
        self._closer.ask()
        series = RunSeries(ROOM, part)
        series._saved = dict(self._saved)
        return series

    def refine(self, part: Part, series: "RunSeries") -> None:
        """Take on what was read again: curves that are asked for from now on have its points."""
        self._closer.take(part, series)

    @property
    def thinned(self) -> bool:
        """True if single points are gone."""
        return any(table.axes["step"].stride > 1 for table in self._tables)

    @property
    def looks(self) -> int:
        """Grows when curves have to be asked for again, as more or less is known of them than before."""
        return self._closer.changes

    @property
    def marks(self) -> list[Mark]:
        """Marks in order; the best evaluation last, and only the one that is the best now."""
        return [*self._marks, *self._bests[-1:]]

    def position(self, step: int, axis: AxisName) -> float | None:
        """Place of a step on an axis; None before the first step is known."""
        if axis == "step":
            return float(step)
        place = self._saved.get(step) or self._of_steps.at(step) or self._of_evals.at(step)
        return None if place is None else place[axis == "tokens"]

    def _start(self, event: Started) -> None:
        """Go back to where the engine took up the run: at its beginning, or at a checkpoint."""
        back = event.last_valid_step
        place = self._saved.get(back) or self._of_steps.at(back) or (0.0, 0.0)
        self._closer.start(back)
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
        if self._part is None or self._part.has(step):
            table.append(step, self._elapsed(event.t), self._tokens, values)


def _label(best: Eval) -> str:
    """`best 1.842` beside the curve of the loss, or `best exact_match 80.0%`."""
    metric = best.best_by or EVAL_LOSS
    value = best.scores.get(metric)
    if metric == EVAL_LOSS or value is None:
        return f"best {best.loss:.4g}"
    return one_line(f"best {written(metric, value)}")
