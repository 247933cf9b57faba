"""Facts that a policy decides on: values alone, gathered from the disk by `gather`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.housekeeping.hub_cache import Repository
from engine.housekeeping.run_records import RunRecord

Kind = Literal["checkpoints", "cache", "hub", "datasets", "leftovers", "models"]


@dataclass(frozen=True)
class Stored:
    """A file or folder, or several that belong together, that ft made and could do without. Times in unix seconds."""

    name: str
    paths: tuple[Path, ...]
    bytes: int
    used: float
    """Last use where that is recorded, else the last change."""


@dataclass(frozen=True)
class Cached(Stored):
    """Files of ft's cache. `group` is the folder of the cache that they are in."""

    group: str = ""


@dataclass(frozen=True)
class Leftover(Stored):
    """What an interrupted write has left."""

    about: str = ""
    """What was interrupted, for people."""
    busy: bool = False
    """True while the process that writes it lives."""
    owned: bool = True
    """False where nothing tells whose it is, so that only its age says that nobody writes it."""
    run: str | None = None
    """Id of the run whose engine wrote it: it is removed under that run's lock."""
    repo: str | None = None
    """Repository of the hub of which it is a part that the next download continues."""


@dataclass(frozen=True)
class Facts:
    """All that a policy looks at. `now` is the time of gathering, unix seconds."""

    now: float
    runs: tuple[RunRecord, ...] = ()
    cache: tuple[Cached, ...] = ()
    hub: tuple[Repository, ...] = ()
    datasets: tuple[Stored, ...] = ()
    models: tuple[Stored, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be looked at."""
