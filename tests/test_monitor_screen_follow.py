"""Following a run's files: nothing is lost, nothing that lies in the folder breaks it."""

import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.message import Message

from engine.runs.directory import log
from engine.runs.directory.events import (
    Acknowledged,
    Eval,
    Failed,
    Finished,
    Phase,
    Sample,
    Saved,
    Started,
    Warned,
)
from engine.runs.directory.run import Run
from engine.runs.directory.state import fold
from screens.monitor import history
from screens.monitor.follow import RunFollower
from screens.monitor.run_messages import (
    CommandSent,
    EventsRead,
    HistoryRead,
    Liveness,
    LogRead,
    Reading,
    RunGone,
    StartedOver,
)
from screens.monitor.run_view import RunView
from screens.monitor.status import headline, progress, results
from screens.monitor.tail import Tail, follow
from tests.run_fixtures import STARTED, make_run, step

RUN = "20260101-000000-sql-helper"


def looked(tail: Tail) -> list[Message]:
    """All that a reader finds, until there is nothing new."""
    found: list[Message] = []
    while more := list(tail.look()):
        found += more
    return found


def events_of(messages: list[Message]) -> list[object]:
    return [event for message in messages if isinstance(message, EventsRead) for event in message.events]


def test_events_come_once_and_in_order(ft_home: Path) -> None:
    run = make_run(RUN, steps=1000)
    tail = Tail(run, 1)
    assert events_of(looked(tail)) == list(run.events())
    run.emit(step(1001, 0.5, total=2000))
    run.emit(step(1002, 0.5, total=2000))
    assert [event.step for event in events_of(looked(tail))] == [1001, 1002]  # type: ignore[attr-defined]
    assert looked(tail) == []


def test_unfinished_event_line_waits_for_end(ft_home: Path) -> None:
    run = make_run(RUN, steps=3, end=None)
    tail = Tail(run, 1)
    looked(tail)
    with run.events_file.open("ab") as file:
        file.write(b'{"v": 1, "type": "warning", "t": 1.0, ')
        file.flush()
        assert looked(tail) == []
        file.write(b'"message": "late"}\n')
    assert events_of(looked(tail)) == [Warned(t=1.0, message="late")]


@given(junk=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_random_bytes_in_events_are_skipped(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    folder = tmp_path_factory.mktemp("run")
    run = Run(folder)
    run.events_file.write_bytes(junk + b"\n")
    run.log.write_bytes(junk + b"\n")
    (folder / "plan.json").write_bytes(junk)
    run.emit(Warned(t=1.0, message="after"))
    view = RunView(run_id=run.id)
    for event in events_of(looked(Tail(run, 1))):
        view.take(event)  # type: ignore[arg-type]
    assert view.news[-1].text == "warning: after"


def test_rewritten_event_file_is_read_anew(ft_home: Path) -> None:
    run = make_run(RUN, steps=50)
    tail = Tail(run, 1)
    looked(tail)
    run.events_file.write_bytes(b"")
    run.emit(Warned(t=1.0, message="again"))
    found = looked(tail)
    assert isinstance(found[0], StartedOver)
    assert events_of(found) == [Warned(t=1.0, message="again")]


def test_removed_run_folder_ends_reader(ft_home: Path) -> None:
    """It is told of once."""
    run = make_run(RUN)
    posted: list[Message] = []

    def post(message: Message) -> None:
        posted.append(message)
        if isinstance(message, EventsRead):
            message.taken.set()
        if isinstance(message, Liveness):
            shutil.rmtree(run.folder)

    follow(RUN, 7, 0.9, post, threading.Event())
    assert [message.token for message in posted if isinstance(message, RunGone)] == [7]


def test_missing_run_is_reported_with_hint(ft_home: Path) -> None:
    posted: list[Message] = []
    follow("no-such-run", 1, 0.9, posted.append, threading.Event())
    assert isinstance(posted[0], RunGone)
    assert posted[0].error is not None


def test_event_reader_waits_for_screen(ft_home: Path) -> None:
    make_run(RUN, steps=3000)
    posted: list[Message] = []
    cancelled = threading.Event()
    reader = threading.Thread(target=follow, args=(RUN, 1, 0.9, posted.append, cancelled))
    reader.start()
    reader.join(0.5)
    assert reader.is_alive()
    cancelled.set()
    reader.join(5)
    assert len([message for message in posted if isinstance(message, EventsRead)]) == 2


def test_long_log_shows_end_then_news(ft_home: Path) -> None:
    run = make_run(RUN)
    run.log.write_text("".join(f"line {i} of many\n" for i in range(20000)) + "half")
    tail = Tail(run, 1)
    lines = [line for message in looked(tail) if isinstance(message, LogRead) for line in message.lines]
    assert lines[-1] == "line 19999 of many"
    assert lines[0].startswith("line ")
    assert len(lines) < 20000
    with run.log.open("a") as file:
        file.write(" done\n")
    found = [message for message in looked(tail) if isinstance(message, LogRead)]
    assert [message.lines for message in found] == [("half done",)]


def test_chunk_of_log_ends_with_line(ft_home: Path) -> None:
    run = make_run(RUN, steps=100)
    events, offset = log.chunk(run.events_file, 0, 10)
    assert len(events) == 1
    assert log.chunk(run.events_file, offset, 1 << 20)[1] == os.path.getsize(run.events_file)  # noqa: PTH202


def test_steps_repeated_after_resume_replace_old() -> None:
    events = [
        Started(t=STARTED, run=RUN, pid=1),
        *(step(i, 3 - i / 10) for i in range(1, 11)),
        Eval(t=STARTED, step=5, loss=2.0, perplexity=7.0, best=True),
        Saved(t=STARTED, step=5, path="checkpoints/5", kind="checkpoint"),
        Eval(t=STARTED, step=10, loss=1.0, perplexity=3.0, best=True),
        Sample(t=STARTED, step=10, prompt="a", text="b"),
        Failed(t=STARTED, kind="training", message="lost", hint="resume"),
        Started(t=STARTED + 100, run=RUN, pid=2, resumed_from=5),
        step(6, 2.5, t=STARTED + 101),
    ]
    view = RunView(run_id=RUN, alive=True)
    for event in events:
        view.take(event)
    assert view.state == fold(events, alive=True)
    assert (view.state.best, view.state.best_step, view.state.error) == (2.0, 5, None)
    assert (view.pid, list(view.samples)) == (2, [])


def test_time_left_follows_recent_steps() -> None:
    """Time between the steps counts too."""
    view = RunView(run_id=RUN, alive=True)
    view.take(Started(t=STARTED, run=RUN, pid=1))
    assert view.seconds_left() is None
    for number in range(1, 11):
        view.take(step(number, 1.0, total=100, t=STARTED + 2 * number))
    assert view.seconds_left() == pytest.approx(180)
    view.take(Acknowledged(t=STARTED, id="1", command="pause"))
    assert view.seconds_left() is None


def test_run_state_needs_no_colour() -> None:
    view = RunView(run_id=RUN, alive=True)
    view.take(Started(t=STARTED, run=RUN, pid=1))
    view.take(Phase(t=STARTED, name="tokenising", done=28, total=344))
    assert headline(view).plain.startswith(" ● tokenising  sql-helper")
    assert "tokenising 28/344" in progress(view, 80).plain
    view.take(step(1, 2.0))
    view.take(Acknowledged(t=STARTED, id="1", command="pause"))
    assert "‖ paused" in headline(view).plain
    view.alive = False
    assert "✗ crashed (no exit message)" in headline(view).plain
    view.take(Finished(t=STARTED, reason="completed", step=100))
    assert "✓ completed" in headline(view).plain


def test_failed_run_says_why_and_advises() -> None:
    view = RunView(run_id=RUN, alive=False)
    view.take(Started(t=STARTED, run=RUN, pid=1))
    view.take(Failed(t=STARTED, kind="machine", message="The disk is full.", hint="Make room."))
    assert "The disk is full." in progress(view, 80).plain
    assert "Make room." in results(view, 80).plain


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_lines_below_charts_fit(width: int) -> None:
    view = RunView(run_id=RUN, alive=True)
    view.take(Started(t=STARTED, run=RUN, pid=1))
    for number in range(1, 51):
        view.take(step(number, 1.0))
    for line in (progress(view, width), results(view, width)):
        assert len(line) <= max(width, 40)


def test_long_run_shows_in_outline_first(ft_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows whole afterwards."""
    run = make_run(RUN, steps=2000)
    monkeypatch.setattr(history, "LONG", 1)
    monkeypatch.setattr(history, "POINTS", 100)
    posted: list[Message] = []
    over = threading.Event()

    def post(message: Message) -> None:
        posted.append(message)
        if isinstance(message, EventsRead):
            message.taken.set()
        if isinstance(message, Liveness):
            over.set()

    follow(RUN, 1, 0.9, post, over)
    outline, full = [message.view for message in posted if isinstance(message, HistoryRead)]
    assert 90 < len(outline.series.series("loss", "step")) < 400
    assert len(full.series.series("loss", "step")) == 2000
    assert outline.state == full.state == fold(run.events(), alive=False)
    assert outline.series.series("loss", "tokens").bounds()[1] == pytest.approx(120_000, rel=0.02)  # type: ignore[index]
    assert events_of(posted) == []
    assert posted.index(next(m for m in posted if isinstance(m, Reading))) > 0


def test_events_written_during_reading_are_kept(ft_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(RUN, steps=500, end=None)
    monkeypatch.setattr(history, "LONG", 1)
    monkeypatch.setattr(history, "CHUNK", 1000)
    seen: list[int] = []
    view: list[RunView] = []
    over = threading.Event()

    def post(message: Message) -> None:
        if isinstance(message, Reading) and len(seen) < 10:
            seen.append(501 + len(seen))
            run.emit(step(seen[-1], 1.0, total=1000))
        elif isinstance(message, HistoryRead):
            view[:] = [message.view]
        elif isinstance(message, EventsRead):
            for event in message.events:
                view[0].take(event)
            message.taken.set()
        elif isinstance(message, Liveness):
            over.set()

    follow(RUN, 1, 0.9, post, over)
    assert view[0].state.step == 510
    assert len(view[0].series.series("loss", "step")) == 510


def test_events_of_unfollowed_run_are_ignored() -> None:
    follower = RunFollower()
    before = follower.start("20260101-000000-a")
    now = follower.start("20260102-000000-b")
    late = EventsRead(before, (step(1, 2.0),), 1.0, 10)
    assert follower.take(late) is None
    assert late.taken.is_set(), "the thread that reads does not wait for ever"
    assert follower.view is not None
    assert follower.view.step is None
    assert follower.take(EventsRead(now, (step(1, 2.0),), 1.0, 10)) is not None
    assert follower.view.step is not None


def test_command_waits_for_engine_acknowledgement() -> None:
    """It waits no longer once the engine is gone."""
    follower = RunFollower()
    token = follower.start("20260101-000000-a")
    follower.take(Liveness(token, True))
    follower.take(CommandSent(token, "1", "pause"))
    follower.take(CommandSent(token, "2", "save"))
    assert list(follower.waiting.values()) == ["pause", "save"]
    change = follower.take(EventsRead(token, (Acknowledged(id="1", command="pause", t=1.0),), 1.0, 10))
    assert change is not None
    assert change.acknowledged == ("pause",)
    change = follower.take(Liveness(token, False))
    assert change is not None
    assert change.status
    assert not follower.waiting
