"""Room that files take on the disk: whole blocks, each counted once, however many names lead to it."""

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 512
"""Unit of `st_blocks`, bytes, whatever the block size of the file system is."""


@dataclass(frozen=True)
class Room:
    """Bytes on the disk, and the time of the newest change in them, unix seconds; 0 where nothing is there."""

    bytes: int = 0
    changed: float = 0.0


@dataclass(frozen=True)
class Disk:
    """A file system: a folder on it, and its bytes."""

    path: Path
    free: int
    total: int


@dataclass
class Meter:
    """Measures one place after another; what an earlier measurement has counted counts as nothing in a later one."""

    unreadable: list[Path] = field(default_factory=list)
    """Folders and files that the system does not let us look at: their content is in no figure."""
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def measure(self, path: Path, going: Callable[[], bool] = lambda: True) -> Room:
        """Room of a file, or of a folder with all that is below it; `going` is asked before each folder.

        Symbolic links are not followed. Never raises for what is on the disk.
        """
        total, changed, waiting = 0, 0.0, [(path, True)]
        while waiting and going():
            current, named = waiting.pop()
            try:
                status = current.lstat()
                if self._counted(status, named):
                    continue
                total += status.st_blocks * BLOCK
                changed = max(changed, status.st_mtime)
                if stat.S_ISDIR(status.st_mode):
                    with os.scandir(current) as entries:
                        waiting += [(Path(entry.path), False) for entry in entries]
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went away while it was counted
            except OSError:
                self.unreadable.append(current)
        return Room(total, changed)

    def _counted(self, status: os.stat_result, named: bool) -> bool:
        """Return True if this was counted before. A file with one name, in a folder met once, cannot have been."""
        if not (named or stat.S_ISDIR(status.st_mode) or status.st_nlink > 1):
            return (status.st_dev, status.st_ino) in self._seen
        before = len(self._seen)
        self._seen.add((status.st_dev, status.st_ino))
        return len(self._seen) == before


def is_own_folder(path: Path) -> bool:
    """Return True for a folder that may be looked at, False for a link to one and for all else. Never raises."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def disks(*folders: Path) -> list[Disk]:
    """The file systems of these folders, each once; of a folder that is not there, that of its nearest parent."""
    found: dict[int, Disk] = {}
    for folder in folders:
        try:
            there = next(place for place in (folder, *folder.parents) if place.is_dir())
            usage, device = shutil.disk_usage(there), there.stat().st_dev
        except OSError:
            continue  # it is behind a folder that we may not enter
        found.setdefault(device, Disk(folder, usage.free, usage.total))
    return list(found.values())
