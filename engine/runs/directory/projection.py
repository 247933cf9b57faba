"""Projection of a run's events into what holds now, one event at a time and in bounded memory.

It is what views of a living run show. `engine.runs.directory.state.fold` defines the same state over all events at
once, and `engine.runs.directory.skim` reads it from a file with few of its lines decoded.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from engine.runs.directory.events import (
    Acknowledged,
    Eval,
    Event,
    Memory,
    Phase,
    Sample,
    Saved,
    Started,
    Step,
)
from engine.runs.directory.state import RunState, advance, superseded

Kind = TypeVar("Kind", bound=Event)
RECENT = 500
"""Samples, evaluations and checkpoints that are remembered."""


@dataclass(frozen=True)
class _Published:
    """A result as it was published; an earlier one counts again where a later one is superseded."""

    step: int
    loss: float | None
    score: float | None


@dataclass(kw_only=True)
class Projection:
    """A run as far as its events have been taken."""

    step: Step | None = None
    """The last step that holds."""
    evals: deque[Eval] = field(default_factory=lambda: deque(maxlen=RECENT))
    bests: deque[Eval] = field(default_factory=lambda: deque(maxlen=RECENT))
    """Evaluations that were better than all before, by the metric that the recipe names."""
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=RECENT))
    memory: Memory | None = None
    phase: Phase | None = None
    saved: Saved | None = None
    pid: int | None = None
    acknowledged: deque[str] = field(default_factory=lambda: deque(maxlen=32))
    """Ids of the last commands that the engine has taken."""
    _state: RunState = field(default_factory=RunState)
    _fresh: Step | None = None
    """The last step, where the state does not hold it yet: steps come by the hundred thousand."""
    _results: "deque[_Published]" = field(default_factory=lambda: deque(maxlen=RECENT))
    _at_checkpoints: dict[int, Step] = field(default_factory=dict)
    """The step of each checkpoint, from which a run may be resumed."""

    @property
    def folded(self) -> RunState:
        """The state that the events amount to, whether an engine lives or not."""
        if self._fresh is not None:
            self._state, self._fresh = advance(self._state, self._fresh), None
        return self._state

    @property
    def loss_of_best(self) -> float | None:
        """Validation loss at the best step, whatever metric makes it the best."""
        of_best = (event.loss for event in reversed(self.bests) if event.step == self.folded.best_step)
        return next(of_best, None)

    def take(self, event: Event) -> None:
        """Fold one more event in."""
        match event:
            case Step():
                self._fresh = self.step = event
                return
            case Memory():
                self.memory = event
                return
            case Started():
                self._supersede(event.last_valid_step)
                self.pid = event.pid
            case Eval():
                self.evals.append(event)
            case Phase():
                self.phase = event
            case Sample():
                self.samples.append(event)
            case Saved():
                self.saved = event
                self._remember_step(event)
            case Acknowledged():
                self.acknowledged.append(event.id)
        best = (self.folded.best, self.folded.best_step)
        self._state = advance(self.folded, event)
        if isinstance(event, Saved) and event.kind in ("adapter", "model"):
            self._results.append(
                _Published(event.step, self._state.published_loss, self._state.published_score)
            )
        if isinstance(event, Eval) and (self._state.best, self._state.best_step) != best:
            self.bests.append(event)

    def _remember_step(self, saved: Saved) -> None:
        if self.step is not None and self.step.step == saved.step:
            self._at_checkpoints[saved.step] = self.step
            if len(self._at_checkpoints) > RECENT:
                del self._at_checkpoints[next(iter(self._at_checkpoints))]

    def _supersede(self, last: int) -> None:
        """Forget what an engine that continues from step `last` does again."""
        self.evals = _holding(self.evals, last)
        self.bests = _holding(self.bests, last)
        self.samples = _holding(self.samples, last)
        before = self.folded
        self._at_checkpoints = {step: at for step, at in self._at_checkpoints.items() if step <= last}
        if self.step is not None and superseded(self.step, last):
            self.step = self._at_checkpoints.get(last)
        if self.saved is not None and superseded(self.saved, last):
            self.saved = None
        state = RunState(
            phase=before.phase,
            step=min(before.step, max(last, 0)),
            total=before.total if last >= 0 else None,
            started=before.started,
            updated=before.updated,
        )
        for event in (*self.bests, *list(self.evals)[-1:], self.step):
            state = advance(state, event) if event is not None else state
        self._results = deque((result for result in self._results if result.step <= last), maxlen=RECENT)
        if self._results:
            result = self._results[-1]
            state = replace(
                state, published=result.step, published_loss=result.loss, published_score=result.score
            )
        self._state = replace(state, updated=before.updated)


def _holding(events: Iterable[Kind], last: int) -> deque[Kind]:
    return deque((event for event in events if not superseded(event, last)), maxlen=RECENT)
