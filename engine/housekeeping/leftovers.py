"""Leftovers: temporary files and folders of writes, and removals, that were interrupted."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from engine import paths
from engine.export.output import Output
from engine.housekeeping.cached_files import MAKING, REMOVING
from engine.housekeeping.disk import Meter, is_own_folder
from engine.housekeeping.facts import Leftover
from engine.housekeeping.hub_cache import Repository
from engine.housekeeping.run_records import RunRecord
from engine.runs.directory.run import Run

ATOMIC = re.compile(r"\.(best|last|.+\.(json|yml))\.[a-z0-9_]{8}")
"""Name of a file that `engine.storage.atomic` is writing."""
PID = re.compile(r"(?:^|[.-])(\d+)(?:-\d+)?(?:\.making)?$")
"""Number of the process in the name of what it makes."""
RUN, EXPORT = "an interrupted write of a run", "an interrupted export"


def find_leftovers(runs: Iterable[RunRecord], hub: Sequence[Repository]) -> list[Leftover]:
    """All leftovers, wherever ft writes. Never raises for what is there."""
    found = [leftover for run in runs if not run.linked for leftover in _of_run(run)]
    found += _in_home()
    for repo in hub:
        found += (
            _leftover(path, "an interrupted download", repo=repo.name, owned=False) for path in repo.strays()
        )
        found += _matching(repo.folder, f"{REMOVING}*", "an interrupted removal")
    return found


def _of_run(run: RunRecord) -> Iterator[Leftover]:
    checkpoints = run.folder / "checkpoints"
    for folder, pattern in ((checkpoints, ".tmp-*"), (run.folder, ".tmp-*"), (run.folder, ".proof-*")):
        for path in _glob(folder, pattern):
            yield _leftover(path, RUN, busy=run.alive, run=run.id)
    for folder in (run.folder, checkpoints):
        for path in _glob(folder, ".*"):
            if ATOMIC.fullmatch(path.name):
                yield _leftover(path, RUN, busy=run.alive, run=run.id, owned=False)
    job = Run(run.folder, run.id).job
    if job.get("kind") == "export" and isinstance(out := job.get("out"), str) and out.startswith("/"):
        output = Output(Path(out), run.id)
        there = (output.making, *([output.replaced] if is_own_folder(output.out) else []))
        for path in filter(is_own_folder, there):
            yield _leftover(path, EXPORT, busy=run.alive, run=run.id)


def _in_home() -> Iterator[Leftover]:
    cache, home = (
        paths.cache(),
        paths.home(),
    )  # these may be links, as a person has moved them; what is in them not
    inside = [folder for name in ("tokens", "rows", "sources") if is_own_folder(folder := cache / name)]
    for folder in (*inside, paths.datasets(), paths.models()):
        yield from _matching(folder, f"*{MAKING}", "an interrupted write")
        yield from _matching(folder, f"{REMOVING}*", "an interrupted removal")
    yield from _matching(cache, f"{REMOVING}*", "an interrupted removal")
    if is_own_folder(cache / "hub-facts"):
        yield from _matching(cache / "hub-facts", f"{REMOVING}*", "an interrupted removal")
    yield from _matching(paths.models(), f".*{MAKING}-*", "an interrupted conversion")
    yield from _matching(cache, "tmp*", "an interrupted write")
    for path in _glob(home / "exports", ".proof-*"):
        yield _leftover(path, "an interrupted proof", owned=False)
    for path in _glob(home, ".*"):
        if ATOMIC.fullmatch(path.name):
            yield _leftover(path, "an interrupted write", owned=False)


def _matching(folder: Path, pattern: str, about: str) -> Iterator[Leftover]:
    """Leftovers whose name says which process made them; where it does not, their age has to."""
    for path in _glob(folder, pattern):
        found = PID.search(path.name)
        pid = int(found[1]) if found and len(found[1]) < 10 else None
        busy = pid is not None and psutil.pid_exists(pid)
        yield _leftover(path, about, busy=busy, owned=pid is not None)


def _glob(folder: Path, pattern: str) -> list[Path]:
    """What is in a folder itself, without links."""
    try:
        return sorted(path for path in folder.glob(pattern) if not path.is_symlink())
    except OSError:
        return []


def _leftover(
    path: Path,
    about: str,
    busy: bool = False,
    owned: bool = True,
    run: str | None = None,
    repo: str | None = None,
) -> Leftover:
    room = Meter().measure(path)
    return Leftover(str(path), (path,), room.bytes, room.changed, about, busy, owned, run, repo)
