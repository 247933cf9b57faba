"""Cache of files that are fetched or made from others: written whole or not at all, once."""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine import paths
from engine.errors import MachineError
from engine.storage.regular_files import read_text

KEPT_BYTES = 50_000_000_000
"""Most bytes of all files; beyond it the least recently used are removed."""
IN_USE_S = 24 * 3600
"""A file used so recently stays: a run may read it again."""
RESERVE = 500_000_000
"""Bytes that are left free on the disk."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""System errors that mean that a disk takes no more."""
ABOUT = ".about"
MAKING = ".making"


def key_of(*parts: object) -> str:
    """Cache key of a file that depends on `parts`."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:32]


def folder() -> Path:
    """Folder of the files, created if it is missing. Raises MachineError."""
    place = paths.cache() / "sources"
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    return place


def get_or_make(key: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """Return the file under a key, written by `make` if it is not there; a second process waits for the first.

    Raises MachineError where the disk takes no more, and what `make` raises.
    """
    target = folder() / f"{key}{suffix}"
    with writing(target.parent), FileLock(target.with_name(f"{key}.lock")):
        if not target.exists():
            making = target.with_name(f"{key}{MAKING}")
            try:
                make(making)
                making.replace(target)
            finally:
                making.unlink(missing_ok=True)
        write_note(key, read_note(key))
    clean(key)
    return target


def is_there(key: str, suffix: str) -> bool:
    """Return True if there is a file under a key."""
    return (folder() / f"{key}{suffix}").exists()


def read_note(key: str) -> dict[str, Any]:
    """Read the note on a cached file; empty if there is none or it is torn."""
    try:
        known = json.loads(read_text(folder() / f"{key}{ABOUT}"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def write_note(key: str, known: dict[str, Any]) -> None:
    """Write the note on a cached file; its time is that of the file's last use."""
    note = folder() / f"{key}{ABOUT}"
    with writing(note.parent):
        torn = note.with_name(f"{key}.{os.getpid()}{MAKING}")
        torn.write_text(json.dumps(known), encoding="utf-8")
        torn.replace(note)


def check_free_space(
    place: Path, size: int = 0, hint: str = "Free some space, or set FT_HOME to a folder on a larger disk."
) -> None:
    """Raise MachineError where a file of `size` bytes would leave the disk without its reserve."""
    free = shutil.disk_usage(place).free
    if free - size < RESERVE:
        raise MachineError(
            f"The disk of {place} has {free / 1e6:,.0f} MB free; the data needs {max(size, RESERVE) / 1e6:,.0f} MB.",
            hint,
        )


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn errors of writing into a MachineError; a missing file is for the caller to report."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise MachineError(
            f"The data cannot be cached in {place}: {error.strerror}.",
            f"Free space or change the rights of {place}, or set FT_HOME to a folder you can write to.",
        ) from error


def clean(key: str) -> None:
    """Remove the least recently used files beyond `KEPT_BYTES`, and leftovers of killed processes."""
    used: list[tuple[float, int, list[Path]]] = []
    groups: dict[str, list[Path]] = {}
    for path in folder().iterdir():
        groups.setdefault(path.name.partition(".")[0], []).append(path)
    for name, files in groups.items():
        try:
            noted = max(file.stat().st_mtime for file in files)
            size = sum(each.stat().st_size for file in files for each in (file, *file.rglob("*")))
        except OSError:
            continue  # another process has just removed it
        if name != key and time.time() - noted > IN_USE_S:
            used.append((noted, size, files))
    total = sum(path.stat().st_size for path in groups.get(key, []) if path.is_file())
    for _, size, files in sorted(used, reverse=True):
        total += size
        if total > KEPT_BYTES or not any(file.suffix == ABOUT for file in files):
            for file in files:
                shutil.rmtree(file, ignore_errors=True) if file.is_dir() else file.unlink(missing_ok=True)
