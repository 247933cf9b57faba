"""Checkpoints: written whole or not at all, named by `best` and `last`, old ones removed."""

import shutil
from collections.abc import Callable
from pathlib import Path

from engine.storage.atomic import sync_folder, write_atomic
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import read_text

PROGRESS = "progress.json"


def name_of(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:06d}"


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(checkpoint.name.removeprefix("step-"))


def whole(checkpoints: Path) -> list[Path]:
    """The checkpoints that are there, oldest first. A folder has its name only once it is whole."""
    if not checkpoints.is_dir():
        return []
    return sorted((p for p in checkpoints.glob("step-*") if (p / PROGRESS).is_file()), key=step_of)


def latest(run_folder: Path) -> Path | None:
    """The newest whole checkpoint of a run."""
    found = whole(run_folder / "checkpoints")
    return found[-1] if found else None


def named(checkpoints: Path, name: str) -> Path | None:
    """The checkpoint that `best` or `last` names, or None."""
    try:
        target = checkpoints / read_text(checkpoints / name).strip()
    except OSError:
        return None
    return target if target.is_dir() else None


def save(checkpoints: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a folder, and give it its name once every byte is on disk.

    A kill at any moment leaves either the whole checkpoint or a temporary folder that the next save removes.
    Raises MachineError where the disk says no; the older checkpoints stay as they are.
    """
    target = checkpoints / name_of(step)
    with explaining(target):
        checkpoints.mkdir(exist_ok=True)
        for leftover in checkpoints.glob(".tmp-*"):
            shutil.rmtree(leftover)
        temporary = checkpoints / f".tmp-{name_of(step)}"
        temporary.mkdir()
        try:
            write(temporary)
            _flush(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        temporary.rename(target)
        sync_folder(checkpoints)
        write_atomic(checkpoints / "last", target.name + "\n")
    return target


def mark_best(checkpoints: Path, checkpoint: Path) -> None:
    """Name `checkpoint` the best."""
    with explaining():
        write_atomic(checkpoints / "best", checkpoint.name + "\n")


def prune(checkpoints: Path, keep: int) -> None:
    """Remove all but the newest `keep` and the best."""
    best = named(checkpoints, "best")
    with explaining():
        for old in whole(checkpoints)[:-keep]:
            if old != best:
                _remove(old)


def remove(checkpoint: Path) -> None:
    """Remove one, for whoever holds its run's lock. Raises MachineError where the disk says no."""
    with explaining(checkpoint):
        _remove(checkpoint)


def drop_after(checkpoints: Path, step: int, best_step: int | None) -> None:
    """Remove what a run that continues from `step` will make again, and name the best as it was then."""
    with explaining():
        for later in whole(checkpoints):
            if step_of(later) > step:
                _remove(later)
        write_atomic(checkpoints / "last", name_of(step) + "\n")
        if best_step is None:
            (checkpoints / "best").unlink(missing_ok=True)
        else:
            write_atomic(checkpoints / "best", name_of(best_step) + "\n")


def publish(source: Path, target: Path, complete: Callable[[Path], None]) -> None:
    """Put a copy of `source` at `target` whole, in place of what was there; `complete` adds what it may lack."""
    with explaining(target):
        temporary = target.with_name(f".tmp-{target.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(source, temporary)
        complete(temporary)
        _flush(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        sync_folder(target.parent)


def _remove(checkpoint: Path) -> None:
    """Out of sight first: a kill in the middle of removing must not leave half a checkpoint."""
    aside = checkpoint.with_name(f".tmp-{checkpoint.name}")
    if aside.exists():  # left by a kill in the middle of the same
        shutil.rmtree(aside)
    shutil.rmtree(checkpoint.rename(aside))


def _flush(folder: Path) -> None:
    """See every file of a folder onto the disk."""
    for path in (*folder.rglob("*"), folder):
        sync_folder(path)
