"""Runs with checkpoints, and a hub cache, as engines and the hub's client would have left them."""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from engine import paths
from engine.housekeeping.hub_cache import folder
from engine.runs.directory import checkpoints
from engine.runs.directory.events import Event, Finished
from engine.runs.directory.run import Run
from ft.cli import main
from tests.run_fixtures import make_run

DAY = 86400.0
WEIGHTS = b"w" * 300_000


def old_run(
    name: str,
    steps: Sequence[int] = (10, 20, 30, 40),
    best: int | None = 20,
    days: float = 40.0,
    end: Event | str | None = "completed",
) -> Run:
    """A run with checkpoints of these steps that ended so many days ago; `end` None leaves it without an end."""
    last = max(steps, default=0)
    if end == "completed":
        end = Finished(t=time.time() - days * DAY, reason="completed", step=last)
    run = make_run(f"20260101-000000-{name}", steps=0, end=end)
    for step in steps:
        checkpoints.save(run.checkpoints, step, write_checkpoint)
    if best is not None:
        checkpoints.mark_best(run.checkpoints, run.checkpoints / checkpoints.name_of(best))
    return run


def write_checkpoint(folder: Path) -> None:
    """The files of a checkpoint, as far as anybody looks at them without training on."""
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / checkpoints.PROGRESS).write_text("{}")


def steps_of(run: Run) -> list[int]:
    """Steps of the checkpoints that are there."""
    return [checkpoints.step_of(path) for path in checkpoints.whole(run.checkpoints)]


def make_older(path: Path, days: float = 40.0) -> None:
    """Set the times of everything below back."""
    for one in (*path.rglob("*"), path):
        os.utime(one, (time.time() - days * DAY,) * 2, follow_symlinks=False)


def blob_name(data: bytes) -> str:
    """Name of a file in the cache, for what is in it."""
    return hashlib.sha256(data).hexdigest()


def cached_repo(
    name: str, revisions: Mapping[str, Mapping[str, bytes]], main: str | None, kind: str = "models"
) -> Path:
    """A repository in the hub's cache: files by revision. Those of the same bytes are one blob."""
    repo = folder() / f"{kind}--{name.replace('/', '--')}"
    (repo / "blobs").mkdir(parents=True)
    (repo / "refs").mkdir()
    for commit, files in revisions.items():
        snapshot = repo / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file, data in files.items():
            blob = repo / "blobs" / blob_name(data)
            blob.write_bytes(data)
            (snapshot / file).symlink_to(Path("../../blobs") / blob.name)
    if main:
        (repo / "refs" / "main").write_text(main)
    return repo


def own_hub_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process a hub cache in the folder; the client reads HF_HOME once, when it is imported."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub-cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub-cache"))


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    """What `ft storage clean` tells, by name."""
    assert main(["storage", "clean", "--json", *words]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["removals"]}


def entry(group: str, name: str, days: float, size: int = 9_000) -> Path:
    """An entry of a cache, last used so many days ago."""
    path = paths.cache() / group / name
    path.mkdir(parents=True)
    (path / "tokens.bin").write_bytes(b"t" * size)
    make_older(path, days)
    return path
