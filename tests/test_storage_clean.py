"""`ft storage clean`: lists with reasons, removes with --yes, and leaves what a run, or another program, needs."""

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
from huggingface_hub import constants, scan_cache_dir

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
    blob_name,
    cached_repo,
    make_older,
    old_run,
    steps_of,
    write_checkpoint,
)

A, B, C = ("a" * 40, "b" * 40, "c" * 40)
NOBODY = 65534


@pytest.fixture(autouse=True)
def hub_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads HF_HOME once, when it is imported."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    """What `ft storage clean` tells, by name."""
    assert main(["storage", "clean", "--json", *words]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["removals"]}


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


def test_links_in_the_hub_cache_are_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A repository, its blobs or its snapshots, that a person has put elsewhere."""
    files = {A: {"config.json": b"a"}, B: {"config.json": b"b"}}
    for number, part in enumerate(("", "blobs", "snapshots")):
        repo = cached_repo(f"ada/model-{number}", files, main=B)
        make_older(repo, 40)
        make_older(repo / "blobs" / blob_name(b"a"), 90)
        (repo / part).rename(tmp_path / f"moved-{number}")
        (repo / part).symlink_to(tmp_path / f"moved-{number}")
    assert listed(capsys, "--yes", "--older-than", "0") == {}
    for number in range(3):
        repo = Path(constants.HF_HUB_CACHE) / f"models--ada--model-{number}"
        assert (repo / "snapshots" / A / "config.json").is_file() or number == 2  # its links lead nowhere now
        assert len(list((repo / "blobs").iterdir())) == len(list((repo / "snapshots").iterdir())) == 2


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


def entry(group: str, name: str, days: float, size: int = 9_000) -> Path:
    path = paths.cache() / group / name
    path.mkdir(parents=True)
    (path / "tokens.bin").write_bytes(b"t" * size)
    make_older(path, days)
    return path


def test_cache_files_go_by_last_use(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = entry("tokens", "old", 40), entry("tokens", "new", 3)
    used = entry("tokens", "used", 40)
    os.utime(used)  # as reading it does
    rows = paths.cache() / "rows"
    rows.mkdir()
    for number in range(3):
        (rows / f"{number}.npy").write_bytes(b"n" * 100)
    (paths.cache() / "runs.sqlite").write_bytes(b"index")
    make_older(rows)
    make_older(paths.cache() / "runs.sqlite")
    found = listed(capsys, "--only", "cache", "--yes")
    assert found.keys() == {"tokens/old", "rows"}
    assert "3 files, last used 40 days ago" in found["rows"]["reason"]
    assert not old.exists()
    assert new.exists()
    assert used.exists()
    assert list(rows.iterdir()) == []
    assert (paths.cache() / "runs.sqlite").exists()


def test_fetched_rows_of_unfinished_run_stay(capsys: pytest.CaptureFixture[str]) -> None:
    """The server may have others by now, with which the run could not be resumed."""
    from engine.runs.directory.events import Started

    run = old_run("sql", end=None)
    recipe = run.folder / "train.yml"
    recipe.write_text(recipe.read_text().replace("train: starter", "train: https://example.org/rows.jsonl"))
    assert "https" in recipe.read_text()
    run.events_file.write_bytes(b"")
    run.emit(Started(t=time.time() - 50 * DAY, run=run.id, pid=1))
    sources = paths.cache() / "sources"
    sources.mkdir(parents=True)
    for key, days in (("kept", 45), ("gone", 60)):
        for suffix in (".jsonl", ".about"):
            (sources / f"{key}{suffix}").write_text("{}")
            make_older(sources / f"{key}{suffix}", days)
    assert listed(capsys, "--yes").keys() == {"sources/gone"}
    assert sorted(path.name for path in sources.iterdir() if path.suffix != ".lock") == [
        "kept.about",
        "kept.jsonl",
    ]
    run.emit(Finished(t=time.time() - 49 * DAY, reason="completed", step=40))
    assert "sources/kept" in listed(capsys)


def test_fetched_file_that_is_being_made_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    sources = paths.cache() / "sources"
    sources.mkdir(parents=True)
    (sources / "key.jsonl").write_text("{}")
    make_older(sources)
    with FileLock(sources / "key.lock"):
        [one] = listed(capsys, "--yes").values()
        assert (one["state"], one["why"]) == ("kept", "it is in use")
    assert (sources / "key.jsonl").exists()


def test_old_revisions_of_the_hub_cache_go(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that no branch means; what they share with the newest stays whole."""
    shared, own = b"shared" * 10_000, b"own" * 10_000
    repo = cached_repo(
        "ada/model",
        {A: {"config.json": shared, "model.safetensors": own}, B: {"config.json": shared, "new": b"new"}},
        main=B,
    )
    single = cached_repo("ada/single", {C: {"config.json": b"single"}}, main=None)
    for one in (repo, single):
        make_older(one)
    os.utime(repo / "snapshots" / B / "new", (time.time() - 35 * DAY,) * 2)
    found = listed(capsys, "--yes")
    assert found.keys() == {f"model ada/model@{A}"}
    assert 28_000 <= found[f"model ada/model@{A}"]["bytes"] <= 34_000
    scanned = {one.repo_id: one for one in scan_cache_dir(constants.HF_HUB_CACHE).repos}
    assert [one.commit_hash for one in scanned["ada/model"].revisions] == [B]
    assert (repo / "snapshots" / B / "config.json").read_bytes() == shared
    assert len(list((repo / "blobs").iterdir())) == 2
    assert (single / "snapshots" / C / "config.json").exists()
    assert [path for path in repo.iterdir() if path.name.startswith(".removing")] == []


@pytest.mark.parametrize(
    "how", ["pinned", "recorded", "named", "by path", "through a link", "pinned by a finished run"]
)
def test_revision_that_a_run_names_stays(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    repo = cached_repo("ada/model", {A: {"config.json": b"a"}, B: {"config.json": b"b"}}, main=B)
    make_older(repo)
    make_older(repo / "blobs" / blob_name(b"a"), 90)
    end = "completed" if "finished" in how else None
    run = old_run("sql", steps=(), best=None, end=end)
    recipe = run.folder / "train.yml"
    pinned = f"ada/model\n  revision: {A[:12]}" if how.startswith("pinned") else "ada/model"
    recipe.write_text(
        recipe.read_text().replace("revision: null", "").replace("base: starter", f"base: {pinned}")
    )
    if how == "by path":
        recipe.write_text(recipe.read_text().replace("base: ada/model", f"base: {repo / 'snapshots' / A}"))
    if how == "through a link":
        paths.models().mkdir(parents=True)
        (paths.models() / "mine").symlink_to(repo / "snapshots" / A)
        recipe.write_text(recipe.read_text().replace("base: ada/model", f"base: {paths.models() / 'mine'}"))
    if how == "recorded":
        run.record({"model": {"name": "ada/model", "revision": A}})
    assert listed(capsys, "--only", "hub", "--older-than", "0", "--yes") == {}
    assert (repo / "snapshots" / A).is_dir()
    run.remove()
    assert len(listed(capsys, "--only", "hub", "--older-than", "0")) == 1


def test_link_in_a_snapshot_that_leads_away_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    repo = cached_repo("ada/model", {A: {"config.json": b"a"}, B: {"config.json": b"b"}}, main=B)
    (repo / "snapshots" / A / "evil").symlink_to(mine)
    make_older(repo)
    make_older(mine, 50)
    os.utime((repo / "snapshots" / B / "config.json").resolve(), (time.time() - 35 * DAY,) * 2)
    assert listed(capsys, "--yes").keys() == {f"model ada/model@{A}"}
    assert mine.read_text() == "mine"
    assert not (repo / "snapshots" / A).exists()


def test_leftovers_of_dead_processes_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of living ones stay, whatever their age; those of unfinished runs too, unless their engine lives."""
    run = old_run("sql", end=None)
    out = tmp_path / "out"
    export = create_job(
        "export", "export-x", {"model": run.id, "exporter": "merged", "out": str(out), "options": {}}
    )
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    making = out.with_name(f".out.making-{export.id}")
    gone = [
        run.checkpoints / ".tmp-step-000050",
        run.folder / ".tmp-adapter",
        making,
        paths.cache() / "tokens" / f"key.{dead.pid}.making",
        paths.cache() / "tokens" / f".removing-{dead.pid}-1",
        paths.models() / f".starter.making-{dead.pid}",
    ]
    stay = [
        paths.cache() / "tokens" / f"key.{os.getpid()}.making",
        paths.models() / f".starter.making-{os.getpid()}",
    ]
    for folder in (*gone, *stay):
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"h" * 5000)
    make_older(stay[0])
    with run.lock_file.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not {str(path) for path in gone[:2]} & listed(capsys).keys()
    assert listed(capsys, "--yes", "--only", "leftovers").keys() == {str(path) for path in gone}
    assert [path for path in gone if path.exists()] == []
    assert all(path.exists() for path in stay)
    assert steps_of(run) == [10, 20, 30, 40]


def test_torn_small_file_goes_after_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql")
    torn = run.folder / ".plan.json.abc123_x"
    torn.write_text("{")
    kept = run.folder / ".plan.json.not-ours"
    kept.write_text("{")
    assert listed(capsys, "--only", "leftovers") == {}
    make_older(torn, 2)
    make_older(kept, 2)
    assert listed(capsys, "--only", "leftovers", "--yes").keys() == {str(torn)}
    assert kept.exists()


def test_cut_download_stays_until_it_is_old_and_no_run_waits_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    repo = cached_repo("ada/model", {A: {"config.json": b"a"}}, main=A)
    part = repo / "blobs" / "0123.part"
    part.write_bytes(b"p" * 50_000)
    assert listed(capsys) == {}
    make_older(part)
    job = create_job("download", "download-ada-model", {"model": "ada/model", "revision": None})
    assert listed(capsys) == {}
    job.remove()
    assert listed(capsys, "--yes").keys() == {str(part)}
    assert sorted(path.name for path in (repo / "blobs").iterdir()) == [blob_name(b"a")]


def test_models_go_only_where_they_are_asked_for(ft_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And only those that no run names: not by a path, not as the base of an adapter."""
    used = old_run("sql", steps=(), best=None)
    for name in ("unused", "named", "fresh"):
        (paths.models() / name).mkdir(parents=True)
        (paths.models() / name / "model.safetensors").write_bytes(b"m" * 20_000)
        make_older(paths.models() / name, 1 if name == "fresh" else 40)
    recipe = used.folder / "train.yml"
    recipe.write_text(recipe.read_text().replace("base: starter", f"base: {paths.models() / 'named'}"))
    assert listed(capsys) == {}
    assert listed(capsys, "--models", "--yes").keys() == {"unused"}
    assert sorted(path.name for path in paths.models().iterdir()) == ["fresh", "named"]


def test_rows_of_programs_that_no_run_names_go(ft_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths.datasets().mkdir(parents=True)
    for name in ("named.jsonl", "unnamed.arrow"):
        (paths.datasets() / name).write_text("{}")
        make_older(paths.datasets() / name)
    run = old_run("sql", steps=(), best=None)
    recipe = run.folder / "train.yml"
    recipe.write_text(
        recipe.read_text().replace("train: starter", f"train: {paths.datasets() / 'named.jsonl'}")
    )
    assert listed(capsys, "--yes").keys() == {"unnamed.arrow"}
    assert [path.name for path in paths.datasets().iterdir()] == ["named.jsonl"]


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
