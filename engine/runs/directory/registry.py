"""Registry of runs: folders in the runs folder, and one-line files there that point at runs elsewhere."""

import itertools
import os
import time
from pathlib import Path

from engine import paths
from engine.errors import ConfigError
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import read_bytes
from engine.text import listed

EVENTS = "events.jsonl"
RECIPE = "train.yml"
JOB = "job.json"
"""Kind and options of a run that is not a training."""
PRIVATE = 0o700
"""A run's folder is its owner's alone: rows, answers and the log are in it."""


def new_id(name: str, now: float, attempt: int) -> str:
    """`20261121-153000-name`; later attempts in the same second get `-2`, `-3`, …"""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    return f"{stamp}-{name}" + (f"-{attempt}" if attempt > 1 else "")


def started_at(run_id: str) -> float | None:
    """The time that an id starts with, unix seconds; None for that of a folder which a person has named."""
    try:
        return time.mktime(time.strptime(run_id[:15], "%Y%m%d-%H%M%S"))
    except (ValueError, OverflowError):
        return None


def name_in(run_id: str) -> str:
    """The part of an id that a person gave it."""
    return run_id if started_at(run_id) is None else run_id[16:] or run_id


def model_name(reference: str) -> str:
    """Short name of a model for people and folders, from what `TrainedModel.find` takes: a run's own, with the step of
    a checkpoint (`orders-step-000100`), else a folder's or the last part of a hub id."""
    path = Path(reference)
    if path.parent.name == "checkpoints":
        return f"{name_in(path.parent.parent.name)}-{path.name}"
    return name_in(path.name)


def claim(name: str, folder: Path | None) -> tuple[str, Path]:
    """Make an id of its own and its folder; a folder elsewhere gets a pointer file in the runs folder.

    Raises ConfigError where `folder` is taken, MachineError where it cannot be made.
    """
    runs = paths.runs()
    with explaining():
        runs.mkdir(parents=True, exist_ok=True)
        if folder is not None:
            _claim_folder(folder)
            if folder.parent == runs:
                return folder.name, folder
        now = time.time()
        for attempt in itertools.count(1):
            run_id = new_id(name, now, attempt)
            try:
                if folder is None:
                    (runs / run_id).mkdir(PRIVATE)
                    (runs / run_id / EVENTS).touch()
                    return run_id, runs / run_id
                with (runs / run_id).open("x", encoding="utf-8") as pointer:
                    pointer.write(f"{folder}\n")
                return run_id, folder
            except FileExistsError:
                continue
    raise AssertionError("unreachable")


def folders() -> dict[str, Path]:
    """Every run's folder by id, newest first. What is no run, or is gone, is left out."""
    return {run_id: folder for run_id, folder in candidates().items() if _was_run(folder)}


def candidates() -> dict[str, Path]:
    """Every folder that the runs folder has or points at, by id, newest first, whether it holds a run or not."""
    try:
        entries = sorted(os.scandir(paths.runs()), key=lambda entry: entry.name, reverse=True)
    except OSError:
        return {}
    targets = {entry.name: _target(Path(entry.path)) for entry in entries}
    return {run_id: folder for run_id, folder in targets.items() if folder is not None}


def is_run(folder: Path) -> bool:
    """Return True if a folder is a run directory. A recipe alone does not make one: any project has a train.yml."""
    try:
        return (folder / EVENTS).is_file() and any((folder / name).is_file() for name in (RECIPE, JOB))
    except OSError:
        return False


def _was_run(folder: Path) -> bool:
    """Return True if a folder that the runs folder names holds a run, whole or damaged."""
    try:
        return (folder / RECIPE).is_file() or (folder / EVENTS).is_file()
    except OSError:
        return False


def find(reference: str | Path | None) -> tuple[str, Path, Path | None]:
    """Id, folder and named checkpoint of an id, a unique prefix or a path; None = the latest training.

    Raises ConfigError that says what there is.
    """
    known = folders()
    if reference is None:
        if not known:
            raise ConfigError(f"There are no runs in {paths.runs()} yet.", "Start one with: ft train")
        trained = ((run_id, folder) for run_id, folder in known.items() if not (folder / JOB).is_file())
        run_id, folder = next(trained, next(iter(known.items())))
        return run_id, folder, None
    text = str(reference)
    if text in known:
        return text, known[text], None
    by_path = _find_path(Path(text).expanduser().absolute(), known) if "\0" not in text else None
    if by_path is not None:
        return by_path
    matches = [run_id for run_id in known if text and run_id.startswith(text)]
    if len(matches) == 1:
        return matches[0], known[matches[0]], None
    if matches:
        raise ConfigError(f"Several runs start with {text!r}: {listed(matches, 5)}.", "Type more of the id.")
    none = f"There are no runs in {paths.runs()} yet. Start one with: ft train"
    raise ConfigError(f"There is no run {text!r}.", f"There are: {listed(known, 5)}." if known else none)


def forget(run_id: str) -> None:
    """Remove the pointer or the link to a run elsewhere, where there is one."""
    pointer = paths.runs() / run_id
    if pointer.is_file() or pointer.is_symlink():
        pointer.unlink()


def _claim_folder(folder: Path) -> None:
    folder.mkdir(PRIVATE, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigError(
            f"The folder for the run is not empty: {folder}",
            f"Choose another with --run-dir, or resume what is there: ft train --resume {folder}"
            if is_run(folder)
            else "Choose another with --run-dir.",
        )
    try:
        (folder / EVENTS).touch(exist_ok=False)
    except FileExistsError:
        raise ConfigError(
            f"Another run has just started in {folder}", "Choose another with --run-dir."
        ) from None


def _target(entry: Path) -> Path | None:
    """The folder that an entry of the runs folder stands for."""
    try:
        if entry.is_dir():
            return entry
        line = read_bytes(entry, 4097).decode("utf-8", "replace").partition("\n")[0]
    except OSError:
        return None
    return Path(line) if line.startswith("/") and "\0" not in line and len(line) <= 4096 else None


def _find_path(path: Path, known: dict[str, Path]) -> tuple[str, Path, Path | None] | None:
    checkpoint = path if path.parent.name == "checkpoints" and path.is_dir() else None
    folder = path.parents[1] if checkpoint else path
    real = folder.resolve()
    run_id = next((run_id for run_id, other in known.items() if other.resolve() == real), None)
    if run_id is None and not is_run(folder):
        return None
    return run_id or folder.name, folder, checkpoint
