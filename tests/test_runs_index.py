"""The list of runs is always what the run directories say, however it was remembered."""

import json
import multiprocessing
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import paths
from engine.runs.directory import skim
from engine.runs.directory.events import (
    Acknowledged,
    Eval,
    Event,
    Failed,
    Finished,
    Memory,
    Phase,
    Sample,
    Saved,
    Started,
    Step,
    encode,
)
from engine.runs.directory.run import Run
from engine.runs.directory.state import current, fold, settled
from engine.runs.index import index, run_scan
from engine.runs.index.index import Index
from tests.run_fixtures import make_run, step

STEPS = st.integers(0, 12)
LOSSES = st.floats(0.0, 5.0) | st.just(float("nan"))
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Started, t=st.just(1.0), run=st.just("r"), pid=st.just(1), resumed_from=st.none() | STEPS),
    st.builds(lambda n, loss: step(n, loss), STEPS, LOSSES),
    st.builds(lambda n, loss: step(n, loss), STEPS, LOSSES),
    st.builds(lambda n, loss: Eval(t=3.0, step=n, loss=loss, perplexity=1.0), STEPS, LOSSES),
    st.builds(Memory, t=st.just(4.0)),
    st.builds(Phase, t=st.just(5.0), name=st.sampled_from(["loading", "training"])),
    st.builds(Sample, t=st.just(6.0), step=STEPS, prompt=st.just("p"), text=st.just("t")),
    st.builds(Saved, t=st.just(6.0), step=STEPS, path=st.just("p"), kind=st.just("checkpoint")),
    st.builds(
        Acknowledged, t=st.just(7.0), id=st.just("i"), command=st.sampled_from(["pause", "resume", "stop"])
    ),
    st.builds(Failed, t=st.just(8.0), kind=st.just("data"), message=st.just("no"), hint=st.just("")),
    st.builds(Finished, t=st.just(9.0), reason=st.sampled_from(["completed", "stopped"]), step=STEPS),
)
PIECES = st.lists(EVENTS.map(encode) | st.sampled_from([b"\xff\x00\n", b'{"half": \n', b"{}\n"]), max_size=30)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PIECES, max_size=4), torn=st.binary(max_size=5))
def test_growing_event_skim_equals_whole_one(tmp_path: Path, parts: list[list[bytes]], torn: bytes) -> None:
    file = tmp_path / "events.jsonl"
    file.unlink(missing_ok=True)
    file.touch()
    made = None
    for part in parts:
        with file.open("ab") as out:
            out.writelines(part)
        made = skim.RunSkim.from_json(json.loads(json.dumps(skim.read(file, made).to_json())))
    with file.open("ab") as out:
        out.write(torn.replace(b"\n", b""))
    whole, grown = skim.read(file), skim.read(file, made)
    for alive in (True, False):  # compared as text, because no NaN equals another
        folded = repr(fold(Run(tmp_path).events(), alive))
        assert repr(settled(grown.state, alive)) == repr(settled(whole.state, alive)) == folded
    assert len(whole.losses) <= 32


@pytest.mark.parametrize("resumed_from", [None, 700, 1000])
def test_long_run_sums_skip_superseded_events(tmp_path: Path, resumed_from: int | None) -> None:
    def written(first: int, last: int, peak: int) -> list[Event]:
        found: list[Event] = [Started(run="r", pid=1, resumed_from=first or None)]
        for number in range(first + 1, last + 1):
            found += [step(number, 1.0), Memory(process_peak_bytes=peak + number)]
            if number % 100 == 0:
                found.append(Eval(step=number, loss=1 / number, perplexity=1.0, metrics={"exact": 0.5}))
        return found

    events = written(0, 1000, 10_000)
    if resumed_from is not None:
        events += written(resumed_from, 1000, 5_000)
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(map(encode, events)))
    totals, hold = skim.read(file).totals, current(events)
    steps = [event for event in hold if isinstance(event, Step)]
    assert len(steps) == 1000
    assert totals.tokens == sum(event.tokens for event in steps)
    assert totals.trained_tokens == sum(event.trained_tokens for event in steps)
    assert totals.seconds == pytest.approx(sum(event.step_s for event in steps))
    assert totals.process_peak_bytes == 11_000
    assert totals.last_eval == [event for event in hold if isinstance(event, Eval)][-1]


def test_index_agrees_with_each_run(ft_home: Path) -> None:
    make_run("20260101-000000-a", steps=100)
    make_run("20260102-000000-b", steps=3, end=None)
    make_run("20260103-000000-c", steps=40, end=Failed(t=50.0, kind="data", message="no rows", hint="add"))
    found = Index().refresh()
    assert [summary.id for summary in found] == [run.id for run in Run.all()]
    for summary in found:
        run = Run.open(summary.id)
        assert summary.state == run.state()
        assert summary.folder == run.folder
        assert not summary.damaged
    assert [summary.state.status for summary in found] == ["failed", "crashed", "completed"]
    assert found[2].config["training.learning_rate"] == 1e-3
    assert 17 <= len(found[2].losses) <= 32
    assert found[2].losses[-1] == found[2].state.loss
    assert found[2].tokens_per_s == 100.0


def test_second_start_reads_only_changed_runs(ft_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(1, 6):
        make_run(f"2026010{day}-000000-a", steps=10)
    first = Index().refresh()
    read: list[Path] = []
    real = skim.read

    def noted(path: Path, before: skim.RunSkim | None = None) -> skim.RunSkim:
        read.append(path)
        return real(path, before)

    monkeypatch.setattr(skim, "read", noted)
    monkeypatch.setattr(run_scan, "read_config", lambda path: pytest.fail(f"read {path} again"))
    assert Index().refresh() == first
    assert read == []


def test_events_appended_to_run_are_seen_next(ft_home: Path) -> None:
    run = make_run("20260101-000000-a", steps=3, end=None)
    looked = Index()
    looked.refresh()
    run.emit(step(4, 0.25))
    (summary,) = looked.refresh()
    assert (summary.state.step, summary.state.loss) == (4, 0.25)
    assert Index().refresh() == (summary,)


def test_unchanged_run_keeps_its_summary(ft_home: Path) -> None:
    make_run("20260101-000000-a", steps=3)
    looked = Index()
    (first,) = looked.refresh()
    for _ in range(7):
        assert looked.refresh()[0] is first


def test_run_is_alive_while_lock_is_held(ft_home: Path) -> None:
    run = make_run("20260101-000000-a", steps=3, end=None)
    looked = Index()
    with run.locked():
        (summary,) = looked.refresh()
        assert (summary.alive, summary.state.status) == (True, "running")
    (summary,) = looked.refresh()
    assert (summary.alive, summary.state.status) == (False, "crashed")


def test_resumed_run_shows_as_running_soon(ft_home: Path) -> None:
    """It takes a few looks at most."""
    run = make_run("20260101-000000-a", steps=3)
    looked = Index()
    looked.refresh()
    with run.locked():
        seen = [looked.refresh()[0].state.status for _ in range(index.LOOKS)]
    assert "running" in seen


def test_new_and_removed_runs_are_seen_next(ft_home: Path) -> None:
    old = make_run("20260101-000000-a", steps=3)
    looked = Index()
    looked.refresh()
    make_run("20260102-000000-b", steps=3)
    assert [summary.name for summary in looked.refresh()] == ["b", "a"]
    old.remove()
    assert [summary.name for summary in looked.refresh()] == ["b"]
    assert [summary.name for summary in Index().refresh()] == ["b"]


def test_run_elsewhere_is_forgotten_with_its_folder(ft_home: Path, tmp_path: Path) -> None:
    run = make_run("20260101-000000-a", steps=3)
    shutil.move(run.folder, tmp_path / "elsewhere")
    run.folder.write_text(f"{tmp_path / 'elsewhere'}\n")
    looked = Index()
    assert [summary.folder for summary in looked.refresh()] == [tmp_path / "elsewhere"]
    shutil.rmtree(tmp_path / "elsewhere")
    assert looked.refresh() == ()


def test_rewritten_event_file_is_read_from_start(ft_home: Path) -> None:
    """It is longer than it was."""
    run = make_run("20260101-000000-a", steps=3)
    looked = Index()
    looked.refresh()
    run.events_file.write_bytes(b"".join(encode(step(n, 9.0)) for n in range(20, 60)))
    (summary,) = looked.refresh()
    assert set(summary.losses) == {9.0}


DAMAGES: dict[str, Any] = {
    "events.jsonl is gone": lambda run: run.events_file.unlink(),
    "train.yml is gone": lambda run: (run.folder / "train.yml").unlink(),
    "Nothing in events.jsonl": lambda run: run.events_file.write_bytes(b"\0" * 4096 + b"\n"),
    "2 lines of events.jsonl": lambda run: run.events_file.open("ab").write(b"\xff\n\0\n"),
    "it is not a text file": lambda run: (run.folder / "train.yml").write_bytes(b"\xff\xfe"),
    "it is not a mapping": lambda run: (run.folder / "train.yml").write_text("- 1\n"),
    "events.jsonl cannot be read": lambda run: (run.events_file.unlink(), run.events_file.mkdir()),
    "train.yml cannot be read": lambda run: (run.folder / "train.yml").write_text("a: [\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_run_is_listed_with_its_problem(ft_home: Path, damage: str) -> None:
    run = make_run("20260101-000000-a", steps=3)
    DAMAGES[damage](run)
    for summary in (Index().refresh()[0], Index().refresh()[0]):  # read, and remembered
        assert damage in summary.damaged
        assert summary.id == run.id


def test_other_files_in_runs_folder_are_skipped(ft_home: Path) -> None:
    make_run("20260101-000000-a", steps=3)
    (paths.runs() / "notes.txt").write_text("not a run\n")
    (paths.runs() / "empty").mkdir()
    (paths.runs() / "loop").symlink_to(paths.runs() / "loop")
    assert [summary.name for summary in Index().refresh()] == ["a"]


def test_no_runs_folder_means_no_runs(ft_home: Path) -> None:
    assert Index().refresh() == ()


@pytest.mark.parametrize("bad", [b"", b"no database" * 500, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_cache_is_made_anew(ft_home: Path, bad: bytes) -> None:
    make_run("20260101-000000-a", steps=3)
    first = Index().refresh()
    (paths.cache() / index.FILE).write_bytes(bad)
    assert Index().refresh() == first
    assert _rows() == 1


def test_damaged_cache_pages_hide_no_run(ft_home: Path) -> None:
    for day in range(1, 10):
        make_run(f"2026010{day}-000000-a", steps=10)
    first = Index().refresh()
    file = paths.cache() / index.FILE
    body = bytearray(file.read_bytes())
    for start in range(4096, len(body), 1000):
        body[start : start + 200] = b"\xee" * len(body[start : start + 200])
    file.write_bytes(body)
    assert Index().refresh() == first


def test_foreign_cache_rows_are_ignored(ft_home: Path) -> None:
    """The directories are read instead."""
    run = make_run("20260101-000000-a", steps=3)
    first = Index().refresh()
    for body in ("[]", "{}", "nonsense", '{"digest": 1, "config": 2}', "[" * 100_000):
        with sqlite3.connect(paths.cache() / index.FILE) as connection:
            connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (str(run.folder), body))
        connection.close()
        assert Index().refresh() == first


def test_runs_list_works_with_unwritable_cache(ft_home: Path) -> None:
    make_run("20260101-000000-a", steps=3)
    paths.cache().parent.mkdir(exist_ok=True)
    paths.cache().write_text("a file where the folder should be")
    assert [summary.name for summary in Index().refresh()] == ["a"]


def test_runs_list_does_not_wait_for_cache(ft_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds it."""
    monkeypatch.setattr("engine.runs.index.store.PATIENCE_S", 0.0)
    make_run("20260101-000000-a", steps=3)
    Index().refresh()
    make_run("20260102-000000-b", steps=3)
    with sqlite3.connect(paths.cache() / index.FILE, isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert [summary.name for summary in Index().refresh()] == ["b", "a"]
    holder.close()


def test_two_processes_share_one_cache(ft_home: Path) -> None:
    for number in range(20):
        make_run(f"20260101-0000{number:02}-a", steps=5)
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        answers = pool.map(_names_seen, [os.environ["FT_HOME"]] * 4)
    assert answers == [[f"20260101-0000{number:02}-a" for number in reversed(range(20))]] * 4
    assert _rows() == 20


def _names_seen(home: str) -> list[str]:
    os.environ["FT_HOME"] = home
    found: tuple[index.RunSummary, ...] = ()
    for _ in range(5):
        found = Index().refresh()
    return [summary.id for summary in found]


def _rows() -> int:
    with sqlite3.connect(paths.cache() / index.FILE) as connection:
        (number,) = connection.execute("SELECT count(*) FROM runs").fetchone()
    connection.close()
    return int(number)


def test_newest_runs_come_first_when_hurried(ft_home: Path) -> None:
    """The others come by and by."""
    for day in range(1, 4):
        make_run(f"2026010{day}-000000-a", steps=3)
    looked = Index()
    assert looked.refresh(within=-1) == ()
    assert len(looked.refresh()) == 3
    assert len(looked.refresh(within=-1)) == 3  # what has been read costs nothing
    assert len(Index().refresh(within=-1)) == 3


def test_old_cached_status_gets_its_new_name() -> None:
    """Version 0.1.0 wrote it."""
    body = skim.RunSkim().to_json()
    body["state"] |= {"status": "queued"}
    assert skim.RunSkim.from_json(body).state.status == "new"
    for name in ("best_metric", "validation_score", "published_score"):
        del body["state"][name]  # it had none of these
    assert skim.RunSkim.from_json(body).state.best_metric == "eval_loss"
