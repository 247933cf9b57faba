"""What ft can make or fetch again: entries of its cache, rows that programs gave to runs, and model folders."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from engine import paths
from engine.housekeeping.disk import Meter, Room
from engine.housekeeping.facts import Cached, Stored

MAKING = ".making"
REMOVING = ".removing-"
"""Ends and beginnings of names of what is being written or removed; `leftovers` looks after those."""
SINGLE_FILES = ("rows", "digests")
"""Folders of the cache with a small file for each file of rows."""


def cache_entries() -> list[Cached]:
    """The entries of the cache. Files that lie in it directly stay: indexes, logs and figures of a few kilobytes."""
    found: list[Cached] = []
    for folder in _folders(paths.cache()):
        match folder.name:
            case "tokens" | "rows" | "digests":
                found += (_entry(folder.name, (path,)) for path in _whole(folder))
            case "sources":
                found += (_entry("sources", files) for files in _groups(folder))
            case "hub-facts":
                found += (_entry("hub-facts", (path,)) for path in _folders(folder))
            case _:
                found.append(_entry(folder.name, (folder,)))
    return found


def dataset_files() -> list[Stored]:
    """Files of rows that Python programs gave to runs."""
    return [_stored(path.name, (path,)) for path in _whole(paths.datasets())]


def model_folders() -> list[Stored]:
    """Folders in the models folder; a link there leads to a folder of a person's own."""
    return [_stored(folder.name, (folder,)) for folder in _folders(paths.models())]


def _entry(group: str, files: Iterable[Path]) -> Cached:
    files = tuple(files)
    name = files[0].name.partition(".")[0] if group == "sources" else files[0].name
    used = _used(files) if group == "tokens" else None  # its folder's time is set whenever it is read
    one = _stored(name, files)
    return Cached(f"{group}/{name}" if group != name else name, files, one.bytes, used or one.used, group)


def _stored(name: str, files: tuple[Path, ...]) -> Stored:
    meter = Meter()
    rooms: list[Room] = [meter.measure(path) for path in files]
    return Stored(name, files, sum(room.bytes for room in rooms), max(room.changed for room in rooms))


def _used(files: tuple[Path, ...]) -> float | None:
    try:
        return files[0].lstat().st_mtime
    except OSError:
        return None


def _groups(folder: Path) -> Iterator[list[Path]]:
    """Files of one key each, as `engine.data.sources.file_cache` names them; locks stay, so that they keep waiters."""
    groups: dict[str, list[Path]] = {}
    for path in _whole(folder):
        if path.suffix != ".lock":
            groups.setdefault(path.name.partition(".")[0], []).append(path)
    yield from groups.values()


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, no links and nothing hidden."""
    return [path for path in _whole(folder) if path.is_dir()]


def _whole(folder: Path) -> list[Path]:
    """What lies in a folder under a name of its own: no links, nothing hidden, nothing half written."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        path
        for path in entries
        if not (path.name.startswith(".") or path.name.endswith(MAKING) or path.is_symlink())
    ]
