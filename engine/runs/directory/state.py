"""State of a run, folded from its events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.directory.events import (
    Acknowledged,
    Eval,
    Event,
    Failed,
    Finished,
    Phase,
    Sample,
    Saved,
    Started,
    Step,
)

OLD_STATUS: Mapping[str, "Status"] = {"queued": "new", "dead": "crashed"}
"""Words of version 0.1.0, which its index and people's filters still have."""
Status = Literal["new", "running", "paused", "completed", "stopped", "failed", "crashed"]


@dataclass(frozen=True)
class RunState:
    """State of a run. `new`: no event yet; `crashed`: its engine ended without an exit message."""

    status: Status = "new"
    phase: str = ""
    step: int = 0
    total: int | None = None
    loss: float | None = None
    """Training loss of the last step, nats a trained token."""
    best: float | None = None
    """Best value so far of the metric `best_metric`, for most runs the lowest validation loss."""
    best_step: int | None = None
    best_metric: str = EVAL_LOSS
    """Metric that `checkpoints.best` names, as in `engine.metrics`."""
    validated: int | None = None
    """Step of the last evaluation."""
    validation_loss: float | None = None
    validation_score: float | None = None
    """Its value of `best_metric`."""
    published: int | None = None
    """Step of the checkpoint whose adapter or model is the run's result."""
    published_loss: float | None = None
    """Its validation loss; None where there was no evaluation at that step."""
    published_score: float | None = None
    """Its value of `best_metric`."""
    started: float | None = None
    """Unix seconds of the first start."""
    updated: float | None = None
    reason: str = ""
    """Reason why it finished: completed, stopped, early_stopping."""
    error: Failed | None = None


def current(events: Iterable[Event]) -> list[Event]:
    """The events that still hold: what a resumed or restarted run has superseded is dropped."""
    holding: list[Event] = []
    for event in events:
        if isinstance(event, Started):
            holding = [old for old in holding if not superseded(old, event.last_valid_step)]
        holding.append(event)
    return holding


def last_word(events: Iterable[Event]) -> Failed | Finished | None:
    """The event that ended the run's last engine; None where it has not said any."""
    last: Failed | Finished | None = None
    for event in events:
        if isinstance(event, Started):
            last = None
        elif isinstance(event, Failed | Finished):
            last = event
    return last


def fold(events: Iterable[Event], alive: bool) -> RunState:
    """The state that the events amount to; `alive` is whether the run's lock is held."""
    state = RunState()
    for event in current(events):
        state = advance(state, event)
    return settled(state, alive)


def settled(state: RunState, alive: bool) -> RunState:
    """The events' state, corrected by `alive`: True if the run's lock is held."""
    if alive:
        return state if state.status == "paused" else replace(state, status="running")
    if state.status in ("running", "paused"):
        return replace(state, status="crashed")
    return state


def superseded(event: Event, step: int) -> bool:
    """Return True if a start after which `step` is the last valid one supersedes an earlier event.

    This is the one rule for resumed and restarted runs; `Started.last_valid_step` says which step it is.
    """
    if isinstance(event, Finished | Failed):
        return True
    return isinstance(event, Step | Eval | Sample | Saved) and event.step > step


def advance(state: RunState, event: Event) -> RunState:
    """The state after one more event that holds."""
    state = replace(state, updated=event.t)
    match event:
        case Started():
            return replace(state, status="running", started=state.started or event.t)
        case Phase():
            return replace(state, phase=event.name)
        case Step():
            return replace(state, step=event.step, total=event.total, loss=event.loss)
        case Eval():
            return _evaluated(state, event)
        case Saved(kind="adapter" | "model"):
            scores = {state.validated: state.validation_score, state.best_step: state.best}
            losses = {state.validated: state.validation_loss}
            score = scores.get(event.step)
            loss = score if state.best_metric == EVAL_LOSS else losses.get(event.step)
            return replace(state, published=event.step, published_loss=loss, published_score=score)
        case Acknowledged(command="pause"):
            return replace(state, status="paused")
        case Acknowledged(command="resume"):
            return replace(state, status="running")
        case Failed():
            return replace(state, status="failed", error=event)
        case Finished():
            status: Status = "stopped" if event.reason == "stopped" else "completed"
            return replace(state, status=status, reason=event.reason, step=event.step)
    return state


def _evaluated(state: RunState, event: Eval) -> RunState:
    """The state after an evaluation. Unlike `Eval.best`, this counts the one before the first step too."""
    metric = describe(event.best_by or EVAL_LOSS)
    value = event.scores.get(metric.name)
    state = replace(
        state,
        validated=event.step,
        validation_loss=event.loss,
        validation_score=value,
        best_metric=metric.name,
    )
    if value is None or not (metric.improves(value, state.best) if metric.better else event.best):
        return state
    return replace(state, best=value, best_step=event.step)
