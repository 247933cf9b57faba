"""One rule for runs that are resumed: all that reads events, whole, one by one or skimmed, comes to the same state."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.runs.curves.series import RunSeries
from engine.runs.directory import events as ev
from engine.runs.directory import skim
from engine.runs.directory.projection import Projection
from engine.runs.directory.state import current, fold
from tests.run_fixtures import step

LOSSES = st.sampled_from([0.5, 1.0, 1.5, 2.0, math.nan])
ACTIONS = st.one_of(
    st.tuples(st.just("step"), LOSSES),
    st.tuples(st.just("eval"), LOSSES),
    st.tuples(
        st.sampled_from(["save", "sample", "publish", "pause", "resume", "fail", "finish", "load", "over"]),
        st.just(0.0),
    ),
    st.tuples(st.just("back"), st.sampled_from([0.0, 1.0])),
)


def run_of(actions: list[tuple[str, float]]) -> list[ev.Event]:
    """The events of an engine that does these things, at a second each. It is resumed from checkpoints alone."""
    told: list[ev.Event] = [ev.Started(t=0.0, run="r", pid=1)]
    at, checkpoints = 0, list[int]()
    for second, (action, value) in enumerate(actions, 1):
        t = float(second)
        match action:
            case "step":
                at += 1
                told.append(step(at, value, t=t))
            case "eval":
                told.append(ev.Eval(t=t, step=at, loss=value, perplexity=1.0))
            case "save" if at:
                checkpoints.append(at)
                told.append(ev.Saved(t=t, step=at, path="checkpoints/x", kind="checkpoint"))
            case "sample":
                told.append(ev.Sample(t=t, step=at, prompt="a", text="b"))
            case "publish":
                told.append(ev.Saved(t=t, step=at, path="adapter", kind="adapter"))
            case "pause" | "resume":
                told.append(ev.Acknowledged(t=t, id="1", command=action))
            case "fail":
                told.append(ev.Failed(t=t, kind="training", message="lost"))
            case "finish":
                told.append(ev.Finished(t=t, reason="completed", step=at))
            case "load":
                told.append(ev.Phase(t=t, name="loading"))
            case "over":
                at, checkpoints = 0, []
                told.append(ev.Started(t=t, run="r", pid=2))
            case "back" if checkpoints:
                at = checkpoints[0] if value else checkpoints[-1]
                checkpoints = [number for number in checkpoints if number <= at]
                told.append(ev.Started(t=t, run="r", pid=2, resumed_from=at))
    return told


@settings(max_examples=300, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=40))
@example(actions=[(name, 0.5) for name in ("step", "save", "publish", "step", "publish")] + [("back", 0.0)])
def test_events_one_by_one_give_same_state(actions: list[tuple[str, float]]) -> None:
    told = run_of(actions)
    projection, series = Projection(), RunSeries()
    for event in told:
        projection.take(event)
        series.feed(event)
    holding = current(told)
    assert repr(projection.folded) == repr(
        fold(told, alive=projection.folded.status in ("running", "paused"))
    )
    assert repr([*projection.evals]) == repr([event for event in holding if isinstance(event, ev.Eval)])
    assert [*projection.samples] == [event for event in holding if isinstance(event, ev.Sample)]
    steps = [event.step for event in holding if isinstance(event, ev.Step)]
    assert (projection.step.step if projection.step else None) == (steps[-1] if steps else None)
    assert [x for x, _ in series.series("loss", "step").points(0, 99)] == steps


@settings(max_examples=100, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=40))
@example(actions=[("publish", 0.0), ("over", 0.0)])
def test_skimmed_events_give_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, float]]
) -> None:
    told, file = run_of(actions), tmp_path_factory.mktemp("run") / "events.jsonl"
    file.write_bytes(b"".join(map(ev.encode, told)))
    found = skim.read(file).state
    assert repr(found) == repr(fold(told, alive=found.status in ("running", "paused")))
