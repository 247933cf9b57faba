"""The curves of a run: what a chart asks of them, whatever values come and however often it is resumed."""

import math
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runs.curves import zoom
from engine.runs.curves.downsample import Bucket, Series
from engine.runs.curves.pyramid import GREATEST
from engine.runs.curves.series import AXES, MEMORY_NAMES, STEP_NAMES, RunSeries
from engine.runs.directory.events import (
    Acknowledged,
    Eval,
    Event,
    Memory,
    Sample,
    Saved,
    Started,
    Step,
    encode,
)

ANY = st.floats(allow_nan=True, allow_infinity=True)
NUMBERS = st.floats(-1e6, 1e6)


def filled(points: list[tuple[float, float]], capacity: int = 1 << 16) -> Series:
    series = Series(capacity=capacity)
    for x, y in points:
        series.append(x, y)
    return series


def brute(points: list[tuple[float, float]], x0: float, x1: float, buckets: int) -> list[Bucket | None]:
    """The same answer from looking at every point."""
    columns: list[list[tuple[float, float]]] = [[] for _ in range(buckets)]
    for x, y in points:
        if x0 <= x <= x1:
            edges = (x0 + (x1 - x0) * k / buckets for k in range(1, buckets))
            columns[sum(1 for edge in edges if x >= edge and x1 > edge)].append((x, y))
    found: list[Bucket | None] = []
    for column in columns:
        ys = [y for _, y in column if math.isfinite(y)]
        nan = [y if math.isfinite(y) else math.nan for _, y in column]
        found.append(
            Bucket(column[0][0], min(ys, default=math.inf), max(ys, default=-math.inf), nan[-1], nan[0])
            if column
            else None
        )
    return found


def same(a: list[Bucket | None], b: list[Bucket | None]) -> bool:
    return repr(a) == repr(b)


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS | st.just(math.nan) | st.just(math.inf)), max_size=200),
    NUMBERS,
    NUMBERS,
    st.integers(1, 50),
)
def test_window_equals_looking_at_every_point(
    points: list[tuple[float, float]], a: float, b: float, buckets: int
) -> None:
    points.sort(key=lambda point: point[0])
    x0, x1 = sorted((a, b))
    assert same(filled(points).window(x0, x1, buckets), brute(points, x0, x1, buckets))


@given(st.lists(NUMBERS | st.just(math.nan), max_size=700), st.data())
def test_the_extremes_of_any_span_are_exact(ys: list[float], data: st.DataObject) -> None:
    series = filled([(float(i), y) for i, y in enumerate(ys)])
    start = data.draw(st.integers(0, len(ys)))
    stop = data.draw(st.integers(start, len(ys)))
    finite = [y for y in ys[start:stop] if y == y]
    expected = (min(finite, default=math.inf), max(finite, default=-math.inf))
    assert series._values.extremes(start, stop) == expected


@given(st.lists(st.tuples(ANY, ANY), max_size=60), ANY, ANY, st.integers(-1, 20), ANY)
def test_no_number_whatever_makes_a_series_fail(
    points: list[tuple[float, float]], x0: float, x1: float, buckets: int, weight: float
) -> None:
    series = filled(points, capacity=8)
    for each in (series, series.smoothed(weight)):
        assert len(each.window(x0, x1, buckets)) == max(0, buckets)
        each.bounds()
        each.nearest(x0)
        list(each.points(x0, x1))


@settings(max_examples=50)
@given(st.lists(NUMBERS | st.just(math.nan), min_size=1, max_size=300))
def test_full_series_keeps_every_extreme(ys: list[float]) -> None:
    """It stays small."""
    series = filled([(float(i), y) for i, y in enumerate(ys)], capacity=16)
    finite = [y for y in ys if y == y]
    assert series.bounds() == ((0, len(ys) - 1, min(finite), max(finite)) if finite else None)
    assert len(series) == len(ys)
    assert len(list(series.points(-1, 1e9))) <= 16
    whole = series.window(0, len(ys), 1)[0]
    assert whole is not None
    assert (whole.low, whole.high) == (min(finite, default=math.inf), max(finite, default=-math.inf))


def test_smoothing_is_corrected_moving_average() -> None:
    """It grows with its series."""
    series = filled([(0, 1.0), (1, 2.0)])
    smooth = series.smoothed(0.9)
    series.append(2, math.nan)
    series.append(3, 4.0)
    first, second = 1.0, (0.9 * 1 + 2) / 1.9
    third = (0.81 * 1 + 0.9 * 2 + 4) / (0.81 + 0.9 + 1)
    assert [y for _, y in smooth.points(0, 3)] == pytest.approx([first, second, math.nan, third], nan_ok=True)


@given(st.lists(NUMBERS, min_size=1, max_size=100), st.floats(0, 0.999))
def test_smoothing_late_gives_the_same_line(ys: list[float], weight: float) -> None:
    early = Series()
    kept = early.smoothed(weight)
    for i, y in enumerate(ys):
        early.append(i, y)
    late = filled([(float(i), y) for i, y in enumerate(ys)]).smoothed(weight)
    assert list(kept.points(0, 100)) == pytest.approx(list(late.points(0, 100)))
    assert kept.bounds() == pytest.approx(late.bounds())
    assert min(ys) - 1e-6 <= list(kept.points(0, 100))[-1][1] <= max(ys) + 1e-6


def test_smoothing_of_long_series_is_near_exact() -> None:
    ys = [math.sin(i / 900) + (0.3 if i % 2 else -0.3) for i in range(4000)]
    exact = filled([(float(i), y) for i, y in enumerate(ys)]).smoothed(0.95)
    thin = filled([(float(i), y) for i, y in enumerate(ys)], capacity=512).smoothed(0.95)
    for x in (500, 1500, 3900):
        assert thin.nearest(x)[1] == pytest.approx(exact.nearest(x)[1], abs=0.05)  # type: ignore[index]


def test_nearly_infinite_value_is_a_gap() -> None:
    series = filled([(0, 1.0), (1, GREATEST * 10), (2, 3.0)])
    assert series.bounds() == (0, 2, 1.0, 3.0)
    assert math.isnan(series.nearest(1)[1])  # type: ignore[index]


def test_clock_set_back_keeps_points_ordered() -> None:
    assert [x for x, _ in filled([(5, 1.0), (3, 2.0), (6, 3.0)]).points(0, 9)] == [5, 5, 6]


def started(t: float, resumed_from: int | None = None) -> Started:
    return Started(t=t, run="r", pid=1, resumed_from=resumed_from)


def step(number: int, t: float, loss: float | None = None, tokens: int = 100) -> Step:
    value = 1 / number if loss is None else loss
    return Step(
        t=t, step=number, total=9, epoch=0.0, loss=value, lr=1e-4, grad_norm=1.0, tokens=2 * tokens,
        trained_tokens=tokens, tokens_per_s=50.0, step_s=1.0,
    )  # fmt: skip


def fed(*events: Event) -> RunSeries:
    run = RunSeries()
    for event in events:
        run.feed(event)
    return run


def xs(run: RunSeries, name: str, axis: str) -> list[float]:
    return [x for x, _ in run.series(name, axis).points(-1, 1e12)]  # type: ignore[arg-type]


def test_metric_curves_drop_superseded_steps() -> None:
    """They begin as their metrics come."""
    run = fed(
        started(1000),
        step(1, 1010),
        replace(step(2, 1020), metrics={"margin": 0.5}),
        Saved(t=1021, step=2, path="checkpoints/2", kind="checkpoint"),
        Eval(t=1025, step=2, loss=0.5, perplexity=1.6, metrics={"margin": 0.25, "perplexity": 1.6}),
        replace(step(3, 1030), metrics={"margin": 0.75, "accuracy": 1.0}),
        started(1040, resumed_from=2),
        replace(step(3, 1050), metrics={"margin": 0.7}),
    )
    assert (run.step_metrics, run.eval_metrics) == (["margin", "accuracy"], ["margin"])
    assert [*run.series("margin", "step").points(0, 9)] == [(2, 0.5), (3, 0.7)]
    assert xs(run, "margin", "tokens") == [200, 300]
    assert [*run.series("eval_margin", "step").points(0, 9)] == [(2, 0.25)]
    assert xs(run, "accuracy", "step") == []
    with pytest.raises(KeyError):
        run.series("perplexity", "step")


def test_run_has_step_time_and_token_axes() -> None:
    run = fed(started(1000), step(1, 1010), step(2, 1020), Eval(t=1025, step=2, loss=0.5, perplexity=1.6))
    assert xs(run, "loss", "step") == [1, 2]
    assert xs(run, "loss", "time") == [10, 20]
    assert xs(run, "loss", "tokens") == [100, 200]
    assert [xs(run, "eval_loss", axis) for axis in ("step", "time", "tokens")] == [[2], [25], [200]]


def test_a_resumed_run_shows_no_step_twice() -> None:
    run = fed(
        started(0),
        *(step(i, 10 * i) for i in range(1, 5)),
        Saved(t=41, step=4, path="c", kind="checkpoint"),
        Eval(t=42, step=4, loss=0.2, perplexity=1.2, best=True),
        step(5, 50, loss=9.0),
        Memory(t=55, process_bytes=7),
        Eval(t=56, step=5, loss=0.1, perplexity=1.1, best=True),
        started(1000, resumed_from=4),
        step(5, 1010, loss=0.3),
    )
    assert xs(run, "loss", "step") == [1, 2, 3, 4, 5]
    assert run.series("loss", "step").nearest(5) == (5, 0.3)
    assert xs(run, "loss", "tokens")[-1] == 500
    assert xs(run, "loss", "time")[-1] == pytest.approx(
        51
    )  # the checkpoint's 41 s, and 10 s since the resume
    assert xs(run, "process_bytes", "step") == []
    assert [(mark.step, mark.kind) for mark in run.marks] == [(4, "checkpoint"), (4, "resumed"), (4, "best")]


def test_a_smoothed_line_forgets_superseded_steps_too() -> None:
    run, plain = RunSeries(), RunSeries()
    smooth = run.series("loss", "step").smoothed(0.5)
    first = [started(0), *(step(i, i) for i in range(1, 4))]
    for event in (*first, step(4, 4, loss=50.0), started(9, resumed_from=3), step(4, 10, loss=0.1)):
        run.feed(event)
    for event in (*first, step(4, 4, loss=0.1)):
        plain.feed(event)
    expected = plain.series("loss", "step").smoothed(0.5)
    assert list(smooth.points(0, 9)) == pytest.approx(list(expected.points(0, 9)))


def test_a_run_started_over_begins_again() -> None:
    run = fed(started(0), step(1, 5), Sample(t=6, step=1, prompt="p", text="t"), started(50), step(1, 58))
    assert xs(run, "loss", "time") == [8]
    assert xs(run, "loss", "tokens") == [100]
    assert run.marks == []


def test_pause_takes_no_time_on_axis() -> None:
    run = fed(
        started(0),
        step(1, 10),
        Acknowledged(t=12, id="a", command="pause"),
        Acknowledged(t=500, id="b", command="resume"),
        step(2, 510),
    )
    assert xs(run, "loss", "time") == [10, 22]


def test_memory_that_cannot_be_read_is_absent() -> None:
    run = fed(started(0), Memory(t=1, process_bytes=5), Memory(t=2, process_bytes=6))
    assert run.series("process_bytes", "time").bounds() == (1, 2, 5, 6)
    assert run.series("device_bytes", "time").bounds() is None


def test_only_the_best_evaluation_is_marked_best() -> None:
    run = fed(
        started(0),
        Eval(t=1, step=1, loss=2.0, perplexity=7.4, best=True),
        Eval(t=2, step=2, loss=1.5, perplexity=4.5, best=True),
        Eval(t=3, step=3, loss=1.7, perplexity=5.5),
    )
    assert [(mark.step, mark.label) for mark in run.marks] == [(2, "best 1.5")]


def test_chart_mark_has_place_on_every_axis() -> None:
    run = fed(started(100), step(1, 110), step(2, 120))
    assert [run.position(2, axis) for axis in ("step", "time", "tokens")] == [2, 20, 200]


def test_long_run_keeps_few_chart_points(
    tmp_path: Path,
) -> None:
    """Each point is shown where it is looked at."""
    file, values = tmp_path / "events.jsonl", [math.sin(i / 40) + i % 7 for i in range(200_001)]
    run = RunSeries(capacity=1 << 12)
    run.feed(started(0))
    smooth = run.series("loss", "step").smoothed(0.9)
    with file.open("wb") as out:
        for first in range(1, 200_001, 500):
            steps = [step(i, i, values[i], tokens=1) for i in range(first, first + 500)]
            lines = [encode(event) for event in steps] if 90_000 < first < 110_000 else [b"{}\n"] * 500
            out.writelines(lines)
            for event in steps:
                run.feed(event)
            run.fed(out.tell())
    kept = run.series("loss", "step")
    assert len(list(kept.points(0, 1e9))) <= 1 << 12
    assert len(list(smooth.points(0, 1e9))) <= 1 << 12
    assert run.missing("step", 0, 200_000) is None

    part = run.missing("step", 100_000, 100_200)
    assert part is not None
    assert part.end - part.start.offset < file.stat().st_size / 4
    again = run.again(part)
    zoom.read(file, part, again, threading.Event())
    run.refine(part, again)
    assert run.missing("step", 100_000, 100_200) is None
    for axis in AXES:
        shown = list(run.series("loss", axis).points(100_000, 100_200))
        assert shown == [(i, values[i]) for i in range(100_000, 100_201)]
    assert len(run.series("loss", "step").window(0, 200_000, 100)) == 100


def test_zoomed_part_grows_with_the_run(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    run = RunSeries(capacity=16)
    lines = [started(0), *(step(i, i, i % 5) for i in range(1, 400))]
    file.write_bytes(b"".join(map(encode, lines)))
    for event in lines:
        run.feed(event)
    run.fed(file.stat().st_size)
    part = run.missing("step", 390, 399)
    assert part is not None
    again = run.again(part)
    run.feed(step(400, 400, 9.0))
    zoom.read(file, part, again, threading.Event())
    run.refine(part, again)
    run.feed(step(401, 401, 8.0))
    loss = run.series("loss", "step")
    assert [y for _, y in loss.points(397, 401)] == [397 % 5, 398 % 5, 399 % 5, 9.0, 8.0]
    run.feed(started(500, resumed_from=398))
    assert [x for x, _ in run.series("loss", "step").points(0, 1000)][-1] <= 398


@given(st.lists(st.tuples(NUMBERS, st.sampled_from(["one", "many"])), min_size=1, max_size=40))
def test_repeated_window_equals_the_first_one(
    adds: list[tuple[float, str]],
) -> None:
    grown, points = Series(capacity=64), 0
    for y, amount in adds:
        for _ in range(1 if amount == "one" else 23):
            grown.append(points, y + points)
            points += 1
        fresh = Series(grown._axis, grown._values)
        for x0, x1 in ((0, 500), (10, 60), (400, 450)):
            assert same(grown.window(x0, x1, 12), fresh.window(x0, x1, 12))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 120), max_size=4), st.integers(8, 64))
def test_often_resumed_run_holds_no_superseded_value(backs: list[int], even: int) -> None:
    run = RunSeries(capacity=even * 2)
    smooth = run.series("loss", "step").smoothed(0.9)
    run.feed(started(0))
    at = 0
    for life, back in enumerate([*backs, 0]):
        for number in range(at + 1, 130):
            run.feed(step(number, number, loss=float(life)))
        if life < len(backs):
            at = back
            run.feed(started(1000 * (life + 1), resumed_from=back))
    loss = run.series("loss", "step")
    beyond = [y for x, y in loss.points(at + 1, 1e9)]
    assert all(y == len(backs) for y in beyond)
    assert len(list(smooth.points(0, 1e9))) == len(list(loss.points(0, 1e9)))
    assert loss.bounds()[1] == 129 or at >= 129  # type: ignore[index]


def test_every_promised_curve_is_there() -> None:
    run = RunSeries()
    assert all(
        run.series(name, "step").bounds() is None for name in (*STEP_NAMES, "eval_loss", *MEMORY_NAMES)
    )
    with pytest.raises(KeyError):
        run.series("perplexity", "step")
