"""What Monitor knows of a run: its events folded as they come. Needs no terminal."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.runs.curves.series import RunSeries
from engine.runs.directory import event_text
from engine.runs.directory.events import (
    Acknowledged,
    Eval,
    Event,
    Failed,
    Memory,
    Phase,
    Sample,
    Saved,
    Started,
    Step,
)
from engine.runs.directory.state import RunState, advance, settled

if TYPE_CHECKING:
    from engine.planning.plan import Plan

PACE = 50
"""Steps that the pace is taken over: evaluations and saving between them count."""
KEPT = 500
"""Lines of news, samples and evaluations that are kept."""
SMOOTHED = ("loss", "grad_norm", "tokens_per_s")


@dataclass(frozen=True)
class News:
    """One line of what has happened. `kind` is the event's type; `t` unix seconds."""

    t: float
    kind: str
    text: str


@dataclass
class RunView:
    """A run as far as its events have been taken."""

    run_id: str
    series: RunSeries = field(default_factory=RunSeries)
    alive: bool | None = None
    """None until it is known."""
    gone: bool = False
    """The folder is no longer there."""
    plan: "Plan | None" = None
    step: Step | None = None
    evals: deque[Eval] = field(default_factory=lambda: deque(maxlen=KEPT))
    memory: Memory | None = None
    phase: Phase | None = None
    saved: Saved | None = None
    pid: int | None = None
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT))
    news: deque[News] = field(default_factory=lambda: deque(maxlen=KEPT))
    bests: deque[Eval] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Evaluations that were better than all before."""
    acknowledged: deque[str] = field(default_factory=lambda: deque(maxlen=32))
    """Ids of the last commands that the engine has taken."""
    warnings: int = 0
    share: float = 0.0
    """How much of the file has been read, 0 to 1."""
    _state: RunState = field(default_factory=RunState)
    _fresh: Step | None = None
    """The last step, where the state does not hold it yet: steps come by the hundred thousand."""
    _pace: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=PACE))

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        state = self._so_far()
        return settled(state, self.alive) if self.alive is not None else state

    @property
    def seconds(self) -> float:
        """Training time up to the last step, pauses and the time between two engines left out."""
        bounds = self.series.series("loss", "time").bounds()
        return bounds[1] if bounds else 0.0

    def take(self, event: Event) -> None:
        """Fold one more event in."""
        if isinstance(event, Started):
            self._start(event)
        self.series.feed(event)
        if isinstance(event, Step):
            self._fresh = self.step = event
            self._pace.append((event.step, event.t))
            return
        if isinstance(event, Memory):
            self.memory = event
            return
        self._state = advance(self._so_far(), event)
        match event:
            case Started():
                self.pid = event.pid
            case Eval():
                self.evals.append(event)
                if not self.bests or _order(event.loss) < _order(self.bests[-1].loss):
                    self.bests.append(event)
            case Phase():
                self._enter(event)
                return
            case Sample():
                self.samples.append(event)
                return
            case Saved():
                self.saved = event
            case Acknowledged():
                self.acknowledged.append(event.id)
                self._pace.clear()
        self._tell(event)

    def smoothing(self, weight: float) -> Iterator[None]:
        """Smooth the curves ahead, a portion at a time: of a long run, all at once would take too long."""
        if weight > 0:
            yield from self.series.smoothing(SMOOTHED, weight)

    def prepare(self, weight: float) -> None:
        """`smoothing`, all at once."""
        for _ in self.smoothing(weight):
            pass

    def _so_far(self) -> RunState:
        if self._fresh is not None:
            self._state, self._fresh = advance(self._state, self._fresh), None
        return self._state

    def seconds_left(self) -> float | None:
        """Estimate at the pace of the last steps; None where nothing is known, or nothing goes on."""
        if self.state.status != "running" or self.step is None or len(self._pace) < 2:
            return None
        (first, since), (last, until) = self._pace[0], self._pace[-1]
        if last <= first or until <= since:
            return None
        return (self.step.total - self.step.step) * (until - since) / (last - first)

    def _start(self, event: Started) -> None:
        """An engine has begun: what it will do again is void, as `engine.runs.directory.state.current` has it."""
        last = -1 if event.resumed_from is None else event.resumed_from
        self.evals = deque((found for found in self.evals if found.step <= last), maxlen=KEPT)
        self.bests = deque((found for found in self.bests if found.step <= last), maxlen=KEPT)
        self.samples = deque((found for found in self.samples if found.step <= last), maxlen=KEPT)
        self.step = self.step if self.step is not None and self.step.step <= last else None
        self.saved = self.saved if self.saved is not None and self.saved.step <= last else None
        best = self.bests[-1] if self.bests else None
        before = self._so_far()
        validated = self.evals[-1] if self.evals else None
        holds = before.published is not None and before.published <= last
        self._state = RunState(
            phase=before.phase,
            step=min(before.step, max(last, 0)),
            total=before.total,
            loss=self.step.loss if self.step else None,
            best=best.loss if best else None,
            best_step=best.step if best else None,
            validated=validated.step if validated else None,
            validation_loss=validated.loss if validated else None,
            published=before.published if holds else None,
            published_loss=before.published_loss if holds else None,
            started=before.started,
            updated=before.updated,
        )
        self._pace.clear()

    def _enter(self, event: Phase) -> None:
        news = self.phase is None or self.phase.name != event.name or bool(event.note)
        self.phase = event
        if news:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        text = event_text.line(event)
        if isinstance(event, Failed) and event.hint:
            text += f" {event.hint}"
        self.warnings += event.type == "warning"
        self.news.append(News(event.t, event.type, text))


def _order(loss: float) -> float:
    """A loss to compare by: what is no number comes last."""
    return loss if math.isfinite(loss) else math.inf
