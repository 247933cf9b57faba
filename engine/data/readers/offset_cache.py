"""Cache on disk of where the rows of a file start, valid until the file changes."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import paths

KEPT_FILES = 32


def _file(path: Path, how: str) -> Path:
    """Path of a file's index; the name changes with the file, and with `how` it is read."""
    status = path.stat()
    key = f"2 {path.absolute()} {status.st_size} {status.st_mtime_ns} {how}"
    return paths.cache() / "rows" / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.npy"


def kept_places(path: Path, how: str) -> Sequence[Sequence[int]] | None:
    """Map the index of a file that was written earlier; None if there is none."""
    try:
        places: Any = np.load(_file(path, how), mmap_mode="r")
    except (OSError, ValueError):
        return None
    return (places[0], places[1]) if places.ndim == 2 and len(places) == 2 else None


def keep_places(path: Path, how: str, offsets: Sequence[int], lines: Sequence[int]) -> None:
    """Write an index, whole or not at all. Where the disk refuses, the file is indexed again next time."""
    file = _file(path, how)
    making = file.with_name(f"{file.stem}.{os.getpid()}.making")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with making.open("wb") as out:
            np.save(out, np.array([offsets, lines], dtype=np.int64))
        making.replace(file)
        old = sorted(file.parent.glob("*.npy"), key=lambda each: each.stat().st_mtime, reverse=True)
        for each in old[KEPT_FILES:]:
            each.unlink(missing_ok=True)
    except OSError:
        making.unlink(missing_ok=True)
