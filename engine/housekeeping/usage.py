"""What takes room on the disk, by kind. Each byte is in one part alone; nothing is fetched, made or removed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine import paths
from engine.export.output import read_mark
from engine.housekeeping import hub_cache
from engine.housekeeping.disk import Disk, Meter, disks, is_own_folder
from engine.housekeeping.leftovers import find_leftovers
from engine.housekeeping.run_records import RunRecord
from engine.runs.directory.result import FOLDERS
from engine.runs.directory.run import Run


@dataclass(frozen=True)
class Item:
    """One thing in a part: a model, a repository, a run, an export."""

    name: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class Part:
    """One kind of files, in all and by item, the largest first."""

    name: str
    path: Path | None
    """Folder that has all of it; None where it is spread."""
    bytes: int
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Usage:
    """All that ft has on disks, the hub's cache included."""

    parts: tuple[Part, ...]
    disks: tuple[Disk, ...]
    unreadable: tuple[Path, ...] = ()
    """What may not be looked at, so that its size is in no figure."""
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Sum of all parts."""
        return sum(part.bytes for part in self.parts)


def measure(runs: Iterable[RunRecord]) -> Usage:
    """Measure everything. Never raises for what is on the disk."""
    runs, meter = tuple(runs), Meter()
    hub, notes = hub_cache.scan()
    home, hub_folder = paths.home(), hub_cache.folder()
    parts = [  # leftovers and exports lie in other parts' folders, and are counted as what they are
        _part(meter, "leftovers", None, ((one.name, one.paths[0]) for one in find_leftovers(runs, hub))),
        _part(meter, "exports", None, _exports(runs)),
        _part(meter, "models", paths.models(), _entries(paths.models())),
        _part(meter, "hub cache", hub_folder, ((f"{repo.kind} {repo.name}", repo.folder) for repo in hub)),
        _part(meter, "datasets", paths.datasets(), _entries(paths.datasets())),
        _part(meter, "caches", paths.cache(), _entries(paths.cache())),
        *_runs(meter, runs),
        _part(meter, "other files", home, _entries(home)),
    ]
    order = ("models", "hub cache", "datasets", "caches", "checkpoints", "results", "rest of runs", "exports")
    by_name = {part.name: part for part in parts}
    named = [*(by_name.pop(name) for name in order), *by_name.values()]
    return Usage(tuple(named), tuple(disks(home, hub_folder)), tuple(meter.unreadable), tuple(notes))


def _part(meter: Meter, name: str, folder: Path | None, things: Iterable[tuple[str, Path]]) -> Part:
    """A part with its items; what lies in its folder beside them is in its sum."""
    items = [Item(title, path, meter.measure(path).bytes) for title, path in things]
    beside = meter.measure(folder).bytes if folder is not None else 0
    return _summed(name, folder, items, beside)


def _summed(name: str, folder: Path | None, items: Iterable[Item], beside: int = 0) -> Part:
    largest = sorted((item for item in items if item.bytes), key=lambda item: (-item.bytes, item.name))
    return Part(name, folder, beside + sum(item.bytes for item in largest), tuple(largest))


def _runs(meter: Meter, runs: Iterable[RunRecord]) -> list[Part]:
    """The runs, those elsewhere too, by what is in them."""
    found: dict[str, list[Item]] = {"checkpoints": [], "results": [], "rest of runs": []}
    for run in runs:
        folder = run.folder.resolve() if run.folder.is_symlink() else run.folder
        for name, places in (
            ("checkpoints", [folder / "checkpoints"]),
            ("results", [folder / result for result in FOLDERS]),
            ("rest of runs", [folder]),
        ):
            size = sum(meter.measure(place).bytes for place in places)
            found[name].append(Item(run.id, run.folder, size))
    beside = meter.measure(paths.runs()).bytes
    return [
        _summed(name, None, items, beside if name == "rest of runs" else 0) for name, items in found.items()
    ]


def _exports(runs: Iterable[RunRecord]) -> list[tuple[str, Path]]:
    """The folders that export jobs name and that have an export's mark, and those where the app proposes them."""
    named = [
        Path(out)
        for run in runs
        if (job := Run(run.folder, run.id).job).get("kind") == "export"
        and isinstance(out := job.get("out"), str)
        and out.startswith("/")
        and "\0" not in out
    ]
    proposed = [path for _, path in _entries(paths.home() / "exports")]
    return [
        (folder.name, folder)
        for folder in dict.fromkeys([*named, *proposed])
        if is_own_folder(folder) and read_mark(folder) is not None
    ]


def _entries(folder: Path) -> list[tuple[str, Path]]:
    """What lies in a folder, by name."""
    try:
        return [(path.name, path) for path in sorted(folder.iterdir())]
    except OSError:
        return []  # `Meter` says where it may not be read
