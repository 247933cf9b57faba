"""Lines of `ft models list`: what each model on this machine is, and which ways to train it fit into the memory of now.

A plan tries micro-batches until one fits; whether any does depends on the least memory that one takes. So that is what
is kept in a cache, per model and way to train, until the model's files, the machine or ft itself change. What is free
now is compared with it each time. A listing from the cache imports neither the planner nor a library.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from engine import paths
from engine.hardware.probe import Machine, probe
from engine.models import catalogue
from engine.models.catalogue import Entry, State
from engine.planning.limits import Fits, fits, limit_bytes
from engine.storage.atomic import write_atomic
from engine.storage.regular_files import read_text

FILE = "models.json"
ROOM = Path(__file__).parents[1]
CODE = tuple(ROOM / part for part in ("planning", "models", "hardware", "backends/torch", "backends/mlx"))
"""Folders of the code that a line is made by."""
NO_BYTES = 1


@dataclass(frozen=True)
class About:
    """What a model is, apart from this moment. `least` is the least memory in bytes of each way to train it; None for
    one that is impossible whatever the memory. Nothing but the state where the model cannot be read."""

    state: State
    parameters: int | None = None
    architecture: str = ""
    held: str = ""
    least: Mapping[str, int | None] = field(default_factory=dict)
    readable: bool = True


@dataclass(frozen=True)
class Line:
    """A model, and which ways to train it fit now."""

    entry: Entry
    about: About
    fits: Mapping[str, Fits]


def lines() -> list[Line]:
    """All models, the starter first. Raises what `catalogue.entries` does."""
    machine = probe()
    cache = _Cache(machine)
    limit, _ = limit_bytes(machine)
    found = []
    for entry in catalogue.entries(cache.state):
        about = cache.about(entry)
        now = {way: "no" if least is None else fits(least, limit) for way, least in about.least.items()}
        found.append(Line(entry, about, now))
    cache.save()
    return found


class _Cache:
    """Lines by folder, each under a stamp of the folder's files."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._file = paths.cache() / FILE
        self._made_by = _digest(_stable(machine), [_stamp(folder) for folder in CODE])
        self._known = self._read()
        self._used: dict[str, dict[str, Any]] = {}
        self._changed = False
        self._stamps: dict[Path, str] = {}

    def state(self, folder: Path) -> State:
        """State of a model's folder; its files are looked into only where they have changed."""
        known = self._entry(folder)
        return known.state if known is not None else catalogue.state_of(folder)

    def about(self, entry: Entry) -> About:
        """What the model is; planned and kept where that is not known."""
        if entry.folder is None:
            return About(entry.state)
        known = self._entry(entry.folder)
        if known is None:
            known = _about(entry, self._machine)
            self._changed = True
            body = {"stamp": self._stamp(entry.folder), "about": asdict(known)}
        else:
            body = self._known[str(entry.folder)]
        self._used[str(entry.folder)] = body
        return known

    def save(self) -> None:
        """Keep what was used. A cache that cannot be written is made again each time."""
        if self._changed or self._used.keys() != self._known.keys():
            with suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(self._file, json.dumps({"made_by": self._made_by, "folders": self._used}))

    def _entry(self, folder: Path) -> About | None:
        known = self._known.get(str(folder))
        if known is None or known.get("stamp") != self._stamp(folder):
            return None
        return About(**known["about"])

    def _stamp(self, folder: Path) -> str:
        if folder not in self._stamps:
            self._stamps[folder] = _stamp(folder)
        return self._stamps[folder]

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            body = json.loads(read_text(self._file))
            folders: dict[str, dict[str, Any]] = body["folders"] if body["made_by"] == self._made_by else {}
            for known in folders.values():
                About(**known["about"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}
        return folders


def _about(entry: Entry, machine: Machine) -> About:
    from engine.planning.feasibility import Load
    from engine.planning.trainability import TrainableModels

    # With no memory at all and a row at a time, each plan is the smallest that there is.
    none = replace(
        machine,
        available_bytes=0,
        gpus=tuple(replace(gpu, total_bytes=NO_BYTES, free_bytes=NO_BYTES) for gpu in machine.gpus),
    )
    model = TrainableModels().on(entry, none, Load(batch=1))
    if model.card is None:
        return About(entry.state, readable=model.problem is None)
    least = {fit.method: fit.plan.memory.peak_bytes if fit.plan else None for fit in model.fits}
    shape = model.card.shape
    return About(entry.state, shape.parameters, shape.architecture, model.card.held, least)


def _stable(machine: Machine) -> dict[str, Any]:
    """The machine without what changes from moment to moment."""
    still = replace(
        machine,
        available_bytes=0,
        gpus=tuple(replace(gpu, free_bytes=0) for gpu in machine.gpus),
        flops={},
        mlx_architectures=frozenset(),
        mlx_verified=frozenset(),
    )
    return asdict(still) | {"mlx": sorted(machine.mlx_architectures)}


def _stamp(folder: Path) -> str:
    """Changes with the name, size or time of change of any file in the folder."""
    try:
        with os.scandir(folder) as entries:
            files = sorted(
                (entry.name, status.st_size, status.st_mtime_ns)
                for entry in entries
                if (status := entry.stat()) and not entry.name.startswith("__")
            )
    except OSError:
        return ""
    return _digest(files)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]
