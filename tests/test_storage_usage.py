"""`ft storage`: what takes room, as the disk sees it, each byte once; what cannot be read is said."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from engine import paths
from engine.housekeeping.disk import Meter
from engine.runs.directory.create_job import create_job
from ft.cli import main
from tests.hub_server import Hub, serving, use_hub
from tests.storage_fixtures import cached_repo, old_run
from tests.test_models_hub import REPO


@pytest.fixture(autouse=True)
def hub_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads HF_HOME once, when it is imported."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))


def usage(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["storage", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    return {part["name"]: part for part in body["parts"]} | {"whole": body}


def du(*folders: Path) -> int:
    """Bytes as `du` counts them, which has its own code for all of it."""
    there = [str(folder) for folder in folders if folder.exists()]
    done = subprocess.run(["du", "-sk", "-c", *there], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-2]) * 1024


def test_empty_home_is_shown_and_nothing_is_made(ft_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage"]) == 0
    shown = capsys.readouterr().out
    assert "hub cache" in shown
    assert "free" in shown
    assert not ft_home.exists()
    assert not Path(constants.HF_HUB_CACHE).exists()


def test_parts_are_what_du_says(ft_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql")
    for folder, name in (
        (paths.models() / "tiny", "model.safetensors"),
        (paths.cache() / "tokens" / "key", "tokens.bin"),
        (paths.datasets(), "rows.jsonl"),
        (run.adapter, "adapter_model.safetensors"),
        (paths.profiles(), "own.yml"),
        (ft_home / "exports" / "gguf", "model.gguf"),
        (tmp_path / "out", "model.gguf"),
        (run.checkpoints / ".tmp-step-000050", "half"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 50_000)
    for folder in (ft_home / "exports" / "gguf", tmp_path / "out"):
        (folder / "export.json").write_text('{"format": "gguf"}')
    create_job("export", "export-gguf", {"model": run.id, "out": str(tmp_path / "out")})
    found = usage(capsys)
    leftover = run.checkpoints / ".tmp-step-000050"
    assert found["models"]["bytes"] == du(paths.models())
    assert [one["name"] for one in found["models"]["items"]] == ["tiny"]
    assert found["caches"]["bytes"] == du(paths.cache())
    assert found["datasets"]["bytes"] == du(paths.datasets())
    assert found["checkpoints"]["bytes"] == du(run.checkpoints) - du(leftover)
    assert found["results"]["bytes"] == du(run.adapter)
    assert found["leftovers"]["bytes"] == du(leftover)
    assert found["exports"]["bytes"] == du(ft_home / "exports" / "gguf", tmp_path / "out")
    assert {one["name"] for one in found["exports"]["items"]} == {"gguf", "out"}
    assert found["whole"]["bytes"] == du(ft_home, tmp_path / "out")
    assert found["whole"]["disks"][0]["free"] > 0


def test_folder_without_the_mark_is_no_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a job names, be it a folder of a person's own, a pipe, or nonsense."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "file").write_bytes(b"x" * 9000)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "export.json")
    for out in (
        str(tmp_path / "own"),
        str(tmp_path / "pipe"),
        "relative",
        "/" + "x" * 5000,
        "/a\0b",
        3,
        None,
    ):
        create_job("export", "export-x", {"model": "x", "out": out})
    assert usage(capsys)["exports"]["bytes"] == 0


def test_links_and_holes_count_as_on_the_disk(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "data").write_bytes(b"x" * 1_000_000)
    os.link(whole / "data", whole / "same")
    (whole / "link").symlink_to(whole / "data")
    (whole / "up").symlink_to(tmp_path)
    with (whole / "hole").open("wb") as file:
        file.truncate(500_000_000)
    os.mkfifo(whole / "pipe")
    size = Meter().measure(whole).bytes
    assert 1_000_000 <= size < 1_100_000
    assert size == pytest.approx(du(whole), abs=4096)
    (tmp_path / "beside").mkdir()
    os.link(whole / "data", tmp_path / "beside" / "again")
    meter = Meter()
    assert meter.measure(whole).bytes == size
    assert meter.measure(tmp_path / "beside").bytes <= 4096


def test_hub_cache_is_that_of_the_client(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the real client from a hub; then nothing more is asked of the hub."""
    with serving(Hub(REPO, tiny_model)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        assert main(["models", "pull", REPO]) == 0
        cached_repo("ada/rows", {"a" * 40: {"rows.jsonl": b"r" * 20_000}}, main="a" * 40, kind="datasets")
        asked = len(hub.requests)
        found = usage(capsys)
        assert len(hub.requests) == asked
    names = [one["name"] for one in found["hub cache"]["items"]]
    assert names == [f"model {REPO}", "dataset ada/rows"]
    assert found["hub cache"]["bytes"] == du(tmp_path / "hub-cache")


def test_damaged_hub_cache_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    repo = cached_repo("ada/model", {"a" * 40: {"config.json": b"c" * 9000}}, main="a" * 40)
    (repo / "snapshots" / ("a" * 40) / "gone").symlink_to("../../blobs/none")
    assert main(["storage"]) == 0
    assert "note: Blob missing" in capsys.readouterr().err
    assert usage(capsys)["hub cache"]["bytes"] == du(Path(constants.HF_HUB_CACHE))


def test_file_in_the_place_of_a_folder_is_no_crash(ft_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ft_home.mkdir()
    for name in ("runs", "models", "cache", "datasets", "exports"):
        (ft_home / name).write_text("not a folder")
    Path(constants.HF_HUB_CACHE).write_text("nor this")
    assert main(["storage"]) == 0
    assert main(["storage", "clean", "--yes", "--models"]) == 0
    assert (ft_home / "runs").read_text() == "not a folder"


def test_name_that_moves_a_cursor_is_made_printable(
    ft_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (paths.models() / "evil\x1b[2Jname").mkdir(parents=True)
    (paths.models() / "evil\x1b[2Jname" / "file").write_bytes(b"x" * 9000)
    assert main(["storage"]) == 0
    shown = capsys.readouterr().out
    assert "evil" in shown
    assert "\x1b[2J" not in shown


def test_what_cannot_be_read_is_said(
    ft_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old_run("sql")
    closed = paths.models() / "closed"
    closed.mkdir(parents=True)
    (closed / "weights").write_bytes(b"x" * 9000)
    closed.chmod(0o000)
    root = os.geteuid() == 0
    if root:  # nothing is closed to root
        for parent in (tmp_path, *tmp_path.parents[:3], *ft_home.rglob("*"), ft_home):
            parent.chmod(parent.stat().st_mode | 0o055 if parent != closed else 0)
        os.seteuid(65534)
    try:
        code = main(["storage"])
    finally:
        if root:
            os.seteuid(0)
        closed.chmod(0o755)
    told = capsys.readouterr()
    assert code == 0
    assert f"cannot be read: {closed}" in told.err
    assert "checkpoints" in told.out


@pytest.mark.parametrize("words", [["--json", "clean"], ["clean", "--json"], ["--json", "automatic"]])
def test_json_may_stand_before_a_subcommand(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage", *words]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)
