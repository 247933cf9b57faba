"""`ft storage clean`: lists with reasons, removes with --yes, and leaves the checkpoints that a run needs."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine import paths
from engine.housekeeping.clean import clean
from engine.housekeeping.gather import Gatherer
from engine.housekeeping.policy import Policy, removals
from engine.runs.directory import checkpoints
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Failed, Finished
from engine.runs.directory.run import Run
from ft.cli import main
from tests.run_fixtures import make_run
from tests.storage_fixtures import (
    DAY,
    entry,
    listed,
    make_older,
    old_run,
    own_hub_cache,
    steps_of,
    write_checkpoint,
)

NOBODY = 65534


@pytest.fixture(autouse=True)
def hub_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_hub_cache(tmp_path, monkeypatch)


def test_clean_only_lists_unless_told_yes(capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql")
    assert main(["storage", "clean"]) == 0
    told = capsys.readouterr()
    assert "its run completed 40 days ago; the best and the last one stay" in told.out
    assert "Nothing was removed; --yes removes this." in told.err
    assert steps_of(run) == [10, 20, 30, 40]
    assert main(["storage", "clean", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["dry_run"] is True
    assert [one["name"] for one in body["removals"]] == [f"{run.id} step 10", f"{run.id} step 30"]
    assert body["bytes"] == sum(one["bytes"] for one in body["removals"]) >= 600_000


def test_best_and_last_stay_and_the_run_still_works(capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql")
    assert main(["storage", "clean", "--yes"]) == 0
    told = capsys.readouterr().out
    assert "freed" in told
    assert steps_of(run) == [20, 40]
    assert [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".")] == []
    assert main(["runs", "show", run.id]) == 0
    shown = capsys.readouterr().out
    assert "step-000020, step-000040" in shown
    assert "completed" in shown
    assert main(["storage", "clean", "--yes"]) == 0
    assert "There is nothing to remove." in capsys.readouterr().err


@pytest.mark.parametrize(
    "end",
    [
        None,
        Finished(t=1.0, reason="stopped", step=40),
        Failed(t=1.0, kind="machine", message="disk full", hint=""),
    ],
    ids=["crashed", "stopped", "failed"],
)
def test_checkpoints_of_unfinished_run_stay(end: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is asked for: each can be resumed."""
    run = old_run("sql", end=end)
    assert listed(capsys, "--yes", "--older-than", "0") == {}
    assert steps_of(run) == [10, 20, 30, 40]


def test_new_run_and_run_with_junk_for_events_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    new, junk = old_run("new"), old_run("junk")
    new.events_file.write_bytes(b"")
    junk.events_file.write_bytes(b"\xff\x00{]" * 50)
    assert listed(capsys, "--yes", "--older-than", "0d") == {}
    assert steps_of(new) == steps_of(junk) == [10, 20, 30, 40]


def test_run_that_ended_lately_keeps_its_checkpoints(capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql", days=5)
    assert listed(capsys) == {}
    assert set(listed(capsys, "--older-than", "96h")) == {f"{run.id} step 10", f"{run.id} step 30"}


@pytest.mark.parametrize("damage", ["junk", "", "step-999999"])
def test_unclear_best_keeps_every_checkpoint(damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql")
    (run.checkpoints / "best").write_text(damage)
    assert listed(capsys, "--yes") == {}
    assert steps_of(run) == [10, 20, 30, 40]


def test_checkpoint_that_another_run_names_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By `adapter.from`, as the start of a run, by an export and a push; through a link of another name too."""
    run = old_run("sql", steps=(10, 20, 30, 40, 50, 60, 70), best=70)
    started = make_run("20260102-000000-more", end="completed")
    recipe = started.folder / "train.yml"
    recipe.write_text(recipe.read_text() + f"\n# adapter.from: {run.id}@10\n")
    started.record({"start": {"folder": str(run.checkpoints / "step-000020" / "adapter"), "run": run.id}})
    create_job("push", "push-sql", {"model": f"{run.id}/checkpoints/step-000030", "to": "a/b"})
    (tmp_path / "other-name").symlink_to(run.folder)
    through = tmp_path / "other-name" / "checkpoints" / "step-000040"
    create_job("export", "export-sql", {"model": str(through), "out": str(tmp_path / "o")})
    assert listed(capsys, "--yes").keys() == {f"{run.id} step 50", f"{run.id} step 60"}
    assert steps_of(run) == [10, 20, 30, 40, 70]


def test_published_step_stays(capsys: pytest.CaptureFixture[str]) -> None:
    from engine.runs.directory.events import Saved

    run = old_run("sql", best=None)
    run.emit(Saved(t=time.time() - 41 * DAY, step=10, path="adapter", kind="adapter"))
    run.emit(Finished(t=time.time() - 40 * DAY, reason="completed", step=40))
    assert listed(capsys, "--yes").keys() == {f"{run.id} step 20", f"{run.id} step 30"}


def test_run_with_held_lock_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """When it is listed, and when its engine starts only afterwards."""
    run, policy = old_run("sql"), Policy()
    gatherer = Gatherer()
    assert len(removals(gatherer.facts(policy.kinds), policy)) == 2
    with run.lock_file.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert listed(capsys, "--yes") == {}

    class Late(Gatherer):
        """Its runs are taken by an engine between the listing and the removal."""

        def __init__(self) -> None:
            super().__init__()
            self.looks = 0

        def facts(self, kinds: Any) -> Any:
            found = super().facts(kinds)
            if not self.looks:
                self.held = run.lock_file.open()
                fcntl.flock(self.held, fcntl.LOCK_EX)
            self.looks += 1
            return found

    late = Late()
    outcomes = clean(policy, late)
    assert [(one.state, one.why) for one in outcomes] == [("kept", "it is in use")] * 2
    late.held.close()
    assert steps_of(run) == [10, 20, 30, 40]


def test_run_that_was_resumed_since_it_was_listed_is_left_alone() -> None:
    """Its lock is free again by then, but it has not completed any more."""
    from engine.runs.directory.events import Started

    run, policy = old_run("sql"), Policy()

    class Late(Gatherer):
        looked = False

        def facts(self, kinds: Any) -> Any:
            found = super().facts(kinds)
            if not self.looked:
                run.emit(Started(run=run.id, pid=1, resumed_from=40))
            self.looked = True
            return found

    assert [one.state for one in clean(policy, Late())] == ["kept", "kept"]
    assert steps_of(run) == [10, 20, 30, 40]


def test_links_are_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a checkpoint, nor the folder of them, nor a run, cache entry or model that lies elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    one, two, three = old_run("one"), old_run("two"), old_run("three")
    one.checkpoints.rename(elsewhere)
    one.checkpoints.symlink_to(elsewhere)
    shutil.move(two.checkpoints / "step-000010", tmp_path / "step")
    (two.checkpoints / "step-000010").symlink_to(tmp_path / "step")
    shutil.move(three.folder, tmp_path / "three")
    three.folder.symlink_to(tmp_path / "three")
    own = tmp_path / "own"
    write_own = own / "deep"
    write_own.mkdir(parents=True)
    (write_own / "file").write_text("mine")
    for folder in (paths.cache() / "tokens", paths.cache(), paths.models(), paths.datasets()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "linked").symlink_to(own)
    (paths.cache() / "tokens" / "entry").mkdir()
    (paths.cache() / "tokens" / "entry" / "inside").symlink_to(own)
    make_older(tmp_path)
    found = listed(capsys, "--yes", "--models", "--older-than", "0")
    assert found.keys() == {f"{two.id} step 30", "tokens/entry"}
    assert (write_own / "file").read_text() == "mine"
    assert len(list(elsewhere.glob("step-*"))) == 4
    assert (tmp_path / "step" / "progress.json").exists()
    assert len(list((tmp_path / "three" / "checkpoints").glob("step-*"))) == 4


def test_run_elsewhere_is_cleaned_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--run-dir` has put it there; the runs folder has a file that points at it."""
    run = old_run("sql")
    shutil.move(run.folder, tmp_path / "elsewhere")
    run.folder.write_text(f"{tmp_path / 'elsewhere'}\n")
    assert listed(capsys, "--yes").keys() == {f"{run.id} step 10", f"{run.id} step 30"}
    assert steps_of(Run(tmp_path / "elsewhere")) == [20, 40]


def test_kill_in_the_middle_leaves_no_half_checkpoint(ft_home: Path) -> None:
    """A clean that is killed at any moment: what has a checkpoint's name is whole; the next clean removes the rest."""
    run = old_run("sql", steps=range(1, 60), best=20)
    for step in range(1, 60):
        for number in range(40):
            (run.checkpoints / checkpoints.name_of(step) / f"{number}.bin").write_bytes(b"x" * 100)
    for wait in (0.0, 0.004, 0.02):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ft.cli", "storage", "clean", "--yes", "--only", "checkpoints"],
            stdout=subprocess.DEVNULL,
        )
        before, until = len(steps_of(run)), time.monotonic() + 60
        while len(steps_of(run)) == before and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in run.checkpoints.glob("step-*"):
            assert len(list(path.iterdir())) == 42, path
    assert main(["storage", "clean", "--yes"]) == 0
    assert steps_of(run) == [20, 59]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [
        "best",
        "last",
        "step-000020",
        "step-000059",
    ]


def test_two_cleans_at_once_do_no_harm(ft_home: Path) -> None:
    runs = [old_run(f"run-{number}") for number in range(6)]
    for name in ("one", "two", "three"):
        (paths.cache() / "tokens" / name).mkdir(parents=True)
        (paths.cache() / "tokens" / name / "tokens.bin").write_bytes(b"t" * 10_000)
    make_older(paths.cache())
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: clean(Policy()), range(3)))
    states = [one.state for outcomes in both for one in outcomes]
    assert "failed" not in states
    assert states.count("removed") == 6 * 2 + 3
    assert all(steps_of(run) == [20, 40] for run in runs)
    assert list((paths.cache() / "tokens").iterdir()) == []


def test_only_limits_what_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql")
    entry("tokens", "old", 40)
    assert listed(capsys, "--only", "cache").keys() == {"tokens/old"}
    assert listed(capsys, "--only", "checkpoints, cache").keys() == {
        "tokens/old",
        f"{run.id} step 10",
        f"{run.id} step 30",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "checkpoint"], "Did you mean checkpoints?"),
        (["--only", ","], "--only names no kind"),
        (["--only", "x"], "There are: checkpoints, cache"),
        (["--older-than", "soon"], "Write 12h, 30d or 8w."),
        (["--older-than", "-1d"], "that is no age"),
        (["--older-than", "1e400d"], "that is no age"),
        (["--older-than", "\u0663d"], "that is no age"),
    ],
)
def test_mistake_is_explained(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql")
    assert main(["storage", "clean", "--yes", *words]) == 2
    assert said in capsys.readouterr().err
    assert steps_of(run) == [10, 20, 30, 40]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the right to write away for a moment")
def test_what_may_not_be_removed_is_told_and_the_rest_goes(
    ft_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked, free = old_run("locked"), old_run("free")
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    for path in (ft_home, *ft_home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.chown(locked.checkpoints, 0, 0)
    locked.checkpoints.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        code = main(["storage", "clean", "--yes"])
    finally:
        os.seteuid(0)
    told = capsys.readouterr()
    assert code == 7
    assert "2 of 4 could not be removed" in told.err
    assert "You may not write here" in told.err
    assert steps_of(locked) == [10, 20, 30, 40]
    assert steps_of(free) == [20, 40]


def test_unfinished_run_resumes_from_what_is_left(ft_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql", end=None)
    old_run("done")
    assert main(["storage", "clean", "--yes", "--older-than", "0"]) == 0
    assert Run.open(run.id).state().status == "crashed"
    latest = checkpoints.latest(run.folder)
    assert latest is not None
    assert latest.name == "step-000040"
    checkpoints.save(run.checkpoints, 50, write_checkpoint)
    assert steps_of(run) == [10, 20, 30, 40, 50]
