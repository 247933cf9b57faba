"""The events file: what a writer leaves, and what a reader makes of any bytes."""

import json
import math
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.runs.directory import events as ev
from engine.runs.directory import log
from engine.runs.directory.run import Run
from engine.runs.directory.state import current, fold, last_word


def step(number: int, loss: float = 1.0) -> ev.Step:
    return ev.Step(
        step=number, total=10, epoch=0.1, loss=loss, lr=1e-4, grad_norm=1.0,
        tokens=10, trained_tokens=5, tokens_per_s=100.0, step_s=0.1,
    )  # fmt: skip


ALL = [
    ev.Started(run="r", pid=1, resumed_from=3, processes=2),
    ev.Phase(name="loading", done=1, total=2, note="π"),
    step(1, math.nan),
    ev.Eval(
        step=1,
        loss=2.0,
        perplexity=math.inf,
        metrics={"exact_match": 0.5, "odd": math.nan},
        best=True,
        best_by="odd",
    ),
    ev.Sample(step=1, prompt="a\nb", text="\u2028 ok"),
    ev.Memory(process_bytes=1, system_total_bytes=2),
    ev.Saved(step=1, path="checkpoints/step-000001", kind="checkpoint"),
    ev.Proved(passed=True, report="top-1   99.6%", metrics={"top1": 0.996}),
    ev.Serving(url="http://127.0.0.1:1/v1", models=("a", "ü"), engine="ft", slots=16, needs_key=True),
    ev.Load(running=1, waiting=0, answers=2, tokens=30, tokens_per_s=4.5),
    ev.Load(running=1, waiting=0, answers=2),
    ev.Acknowledged(id="x", command="stop"),
    ev.Warned(message="careful"),
    ev.Failed(kind="data", message="no", hint="yes"),
    ev.Finished(reason="completed", step=10),
]


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_every_event_reads_back_as_written(event: ev.Event) -> None:
    line = ev.encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert repr(ev.decode(line)) == repr(event)  # repr, because nan differs from itself


def test_every_event_type_is_tried_here() -> None:
    assert {event.type for event in ALL} == set(ev.TYPES)


OF_0_1_0 = (
    b'{"v": 1, "type": "step", "t": 5.0, "step": 3, "total": 10, "epoch": 0.1, "loss": 1.5, "lr": 0.0001, '
    b'"grad_norm": 1.0, "tokens": 10, "trained_tokens": 5, "tokens_per_s": 100.0, "step_s": 0.1}\n'
)
"""A step's line as version 0.1.0 wrote it."""


def test_step_without_metrics_is_written_as_before() -> None:
    """Version 0.1.0 wrote it in the same way."""
    assert ev.encode(replace(step(3, 1.5), t=5.0)) == OF_0_1_0


def test_step_metrics_stand_between_head_and_tail() -> None:
    """Names as those of the fields, or with quotes in them, are not taken for the fields."""
    metrics = {"loss": 9.0, "step": 9.0, "tokens": 9.0, 'x", "step_s': 9.0, "rewards/margin": math.nan}
    line = ev.encode(replace(step(3, 1.5), t=5.0, metrics=metrics))
    head, tail = OF_0_1_0.split(b', "lr"')[0], OF_0_1_0[OF_0_1_0.index(b'"tokens"') :]
    assert line.startswith(head)
    assert line.endswith(tail)
    assert repr(ev.decode(line)) == repr(replace(step(3, 1.5), t=5.0, metrics=metrics))
    assert ev.step_number(line) == 3
    assert ev.step_point(line) == (3, 1.5, 100.0)
    assert ev.step_tails([line, OF_0_1_0]) == ((10, 10), (5, 5), (0.1, 0.1))


def test_non_json_numbers_are_left_to_decoding() -> None:
    broken = ev.encode(replace(step(3, math.nan), tokens_per_s=math.inf, step_s=math.nan))
    assert ev.step_number(broken) == 3
    assert ev.step_point(broken) is None
    assert ev.step_tails([OF_0_1_0, broken]) is None
    assert ev.step_tails([OF_0_1_0, ev.encode(ALL[0])]) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'"step"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"v":1,"type":["a"]}',
        b'{"v":2,"type":"finished","reason":"completed","step":1}',
        b'{"v":1,"type":"unheard-of"}',
        b'{"v":1,"type":"finished","reason":"completed"}',
        b'{"v":1,"type":"finished","reason":"completed","step":"many"}',
        b'{"v":1,"type":"finished","reason":"completed","step":true}',
        b'{"v":1,"type":"warning","message":1}',
        b'{"v":1,"type":"eval","step":1,"loss":1' + b"0" * 400 + b',"perplexity":1}',
        b'{"v":1,"type":"eval","step":1,"loss":1,"perplexity":1,"metrics":[1]}',
    ],
)
def test_line_without_event_is_skipped(line: bytes) -> None:
    assert ev.decode(line) is None


def test_event_field_of_later_version_is_skipped() -> None:
    line = b'{"v":1,"t":5,"type":"finished","reason":"stopped","step":1,"colour":"red"}'
    assert ev.decode(line) == ev.Finished(t=5.0, reason="stopped", step=1)


def test_event_reports_non_utf8_file_name() -> None:
    event = ev.Warned(message=os.fsdecode(b"caf\xe9.jsonl"))
    assert ev.decode(ev.encode(event)) is not None


WORDS = st.sampled_from(["", "nan", "exact_match", "\ud800", "é"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
JSON = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(WORDS, SCALARS, max_size=2)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@PATIENT
@given(st.binary(max_size=400))
def test_a_reader_never_crashes_on_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(data)
    fold(log.read(path), alive=False)


@PATIENT
@given(
    st.sampled_from(sorted(ev.TYPES)),
    st.dictionaries(
        st.sampled_from(["t", "step", "loss", "metrics", "reason", "message", "run", "pid"]), JSON
    ),
)
def test_a_reader_never_crashes_on_wrong_values(kind: str, values: dict[str, object]) -> None:
    event = ev.decode(json.dumps({"v": 1, "type": kind} | values).encode())
    if event is not None:
        fold([event], alive=True)
        ev.encode(event)


def test_torn_last_line_is_end_of_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(ev.encode(step(1)) + ev.encode(step(2))[:-7])
    assert [event.step for event in log.read(path) if isinstance(event, ev.Step)] == [1]


@pytest.mark.parametrize("torn", [b"", b'{"v":1,"ty', b"x" * 200_000])
def test_writer_cuts_torn_last_line_before_appending(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(ev.encode(step(1)) + torn)
    log.append(path, step(2))
    assert path.read_bytes().count(b"\n") == 2
    assert [event.step for event in log.read(path) if isinstance(event, ev.Step)] == [1, 2]


def test_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    import resource
    import signal

    path = tmp_path / "events.jsonl"
    log.append(path, step(1))
    before = path.read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, old[1]))
    try:
        with pytest.raises(OSError):  # noqa: PT011 - EFBIG stands in for ENOSPC
            log.append(path, step(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before


def test_follower_sees_appended_events_until_writer_ends(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log.append(path, step(1))
    alive = threading.Event()
    alive.set()
    seen: list[int] = []

    def follow() -> None:
        seen.extend(e.step for e in log.read(path, alive.is_set) if isinstance(e, ev.Step))

    follower = threading.Thread(target=follow)
    follower.start()
    whole = ev.encode(step(2))
    with path.open("ab") as file:
        file.write(whole[:10])
        file.flush()
        file.write(whole[10:])
    log.append(path, step(3))
    alive.clear()
    follower.join(timeout=10)
    assert seen == [1, 2, 3]


def test_reading_events_starts_where_file_ended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log.append(path, step(1))
    offset = log.whole_length(path)
    log.append(path, step(2))
    assert [event.step for event in log.read(path, offset=offset) if isinstance(event, ev.Step)] == [2]


def test_a_resumed_run_shows_each_step_once() -> None:
    told = [
        ev.Started(run="r", pid=1),
        step(1),
        step(2),
        ev.Eval(step=2, loss=0.1, perplexity=1.0),
        step(3),
        ev.Finished(reason="stopped", step=3),
        ev.Started(run="r", pid=2, resumed_from=1),
        step(2, 5.0),
    ]
    kept = current(told)
    assert [event.step for event in kept if isinstance(event, ev.Step)] == [1, 2]
    assert not any(isinstance(event, ev.Eval | ev.Finished) for event in kept)
    state = fold(told, alive=True)
    assert (state.status, state.step, state.loss, state.best) == ("running", 2, 5.0, None)


def test_run_starting_over_drops_first_evaluation() -> None:
    told = [ev.Started(run="r", pid=1), ev.Eval(step=0, loss=9.0, perplexity=1.0), ev.Started(run="r", pid=2)]
    assert fold(told, alive=True).best is None


@pytest.mark.parametrize(
    ("told", "alive", "status"),
    [
        ([], False, "new"),
        ([], True, "running"),
        ([ALL[0]], True, "running"),
        ([ALL[0]], False, "crashed"),
        ([ALL[0], ev.Acknowledged(id="1", command="pause")], True, "paused"),
        ([ALL[0], ev.Acknowledged(id="1", command="pause")], False, "crashed"),
        (
            [ALL[0], ev.Acknowledged(id="1", command="pause"), ev.Acknowledged(id="2", command="resume")],
            True,
            "running",
        ),
        ([ALL[0], ev.Finished(reason="completed", step=1)], False, "completed"),
        ([ALL[0], ev.Finished(reason="early_stopping", step=1)], False, "completed"),
        ([ALL[0], ev.Finished(reason="stopped", step=1)], False, "stopped"),
        ([ALL[0], ev.Failed(kind="data", message="no")], False, "failed"),
        ([ALL[0], ev.Finished(reason="stopped", step=1), ALL[0]], False, "crashed"),
    ],
)
def test_where_a_run_stands(told: list[ev.Event], alive: bool, status: str) -> None:
    assert fold(told, alive).status == status


def test_last_engine_has_the_last_word() -> None:
    stopped = ev.Finished(reason="stopped", step=1)
    assert last_word([ALL[0], stopped]) == stopped
    assert last_word([ALL[0], stopped, ALL[0]]) is None


def test_long_run_state_needs_no_step_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its evaluations need none either."""
    run, decoded = Run(tmp_path), []
    told = [
        ev.Started(run="r", pid=1),
        *(step(n) for n in range(1, 401)),
        ev.Eval(step=400, loss=2.0, perplexity=7.4),
    ]
    told += [*(step(n) for n in range(401, 601)), ev.Eval(step=600, loss=1.0, perplexity=2.7)]
    told += [
        ev.Started(run="r", pid=2, resumed_from=500),
        *(step(n) for n in range(501, 1001)),
        ev.Eval(step=1000, loss=1.5, perplexity=4.5),
    ]
    run.events_file.write_bytes(b"".join(map(ev.encode, told)))
    expected = [event for event in current(run.events()) if isinstance(event, ev.Eval)]

    def counted(line: bytes) -> ev.Event | None:
        decoded.append(line)
        return ev.decode(line)

    monkeypatch.setattr(log, "decode", counted)
    assert run.evaluations() == expected
    assert [event.step for event in expected] == [400, 1000]
    assert len(decoded) == 5
    assert run.state() == fold(run.events(), alive=False)


def test_a_run_without_events_waits_to_start(tmp_path: Path) -> None:
    assert Run(tmp_path).state().status == "new"
    assert Run(tmp_path).evaluations() == []
