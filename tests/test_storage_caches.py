"""`ft storage clean` among caches, the hub's cache, models and fetched rows: only what nobody needs goes."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants, scan_cache_dir

from engine import paths
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Finished
from tests.storage_fixtures import (
    DAY,
    blob_name,
    cached_repo,
    entry,
    listed,
    make_older,
    old_run,
    own_hub_cache,
    steps_of,
)

A, B, C = ("a" * 40, "b" * 40, "c" * 40)


@pytest.fixture(autouse=True)
def hub_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_hub_cache(tmp_path, monkeypatch)


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
