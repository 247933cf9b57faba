"""All runs at a glance: a summary of each, kept between looks so that thousands cost little."""

import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import paths
from engine.errors import FtError
from engine.runs import digest, lock, registry
from engine.runs.digest import Digest
from engine.runs.index_store import Store
from engine.runs.state import RunState, settled

FILE = "runs.sqlite"
LOOKS = 5
"""A run that has ended gets a full look each so many refreshes; in between only its events are looked at."""
SAVE_S = 30.0
"""A run that trains is written to the cache so often; one that has ended at once."""
RACY_S = 2.0
"""A folder changed so lately may change again within the same tick of its file system's clock."""

Stamp = tuple[int, int, int] | None
"""Inode, size and time of change in nanoseconds; None for a file that is not there."""


@dataclass(frozen=True)
class RunSummary:
    """What a list shows of a run, and what its filter asks about."""

    id: str
    folder: Path
    name: str
    created: float
    """Unix seconds."""
    alive: bool
    state: RunState
    losses: tuple[float, ...] = ()
    """Training loss, thinned to at most 32 points, for a sparkline."""
    tokens_per_s: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """The resolved recipe by dotted key: `training.learning_rate` and so on; empty where it cannot be read."""
    damaged: str = ""
    """What is wrong with the directory, where something is."""


class Index:
    """Looks at the runs folder again and again, and reads again only what has changed.

    One thread at a time may use an index; any number of processes may have one of the same folder.
    """

    def __init__(self) -> None:
        self._store = Store(paths.cache() / FILE)
        self._stored: dict[str, dict[str, Any]] | None = None
        self._looks: dict[str, _Look] = {}
        self._listed: tuple[Stamp, dict[str, Path]] = (None, {})
        self._round = 0
        self._saved = 0.0
        self._not_before = 0.0

    def refresh(self, within: float = math.inf) -> tuple[RunSummary, ...]:
        """All runs, newest first. Never raises for what is in a run directory.

        After `within` seconds, runs that were never read wait for the next call: where there are thousands
        and no cache, the newest come first and the others by and by.
        """
        until = time.monotonic() + within
        if self._stored is None:
            self._stored = self._store.load()
        listed = self._listing()
        self._looks = {run_id: self._look_at(run_id, folder) for run_id, folder in listed.items()}
        found = []
        for number, look in enumerate(self._looks.values()):
            if look.unread and time.monotonic() > until:
                continue
            if not look.settled or (number + self._round) % LOOKS == 0:
                look.at_all()
            else:
                look.at_events()
            if look.summary is not None:
                found.append(look.summary)
        self._round += 1
        self._save()
        return tuple(found)

    def _listing(self) -> dict[str, Path]:
        """The folders that may hold runs; listed again only where the runs folder has changed."""
        stamp, known = self._listed
        now = _stamp(str(paths.runs()))
        if now is None or now != stamp or time.time() - now[2] / 1e9 < RACY_S:
            known = registry.candidates()
            self._listed = (now, known)
        return known

    def _look_at(self, run_id: str, folder: Path) -> "_Look":
        old = self._looks.get(run_id)
        if old is not None and old.folder == folder:
            return old
        assert self._stored is not None
        return _Look(run_id, folder, self._stored.pop(str(folder), None))

    def _save(self) -> None:
        """Write what has changed; what trains only now and then."""
        assert self._stored is not None
        now = time.monotonic()
        late = now - self._saved > SAVE_S
        changed = [look for look in self._looks.values() if look.changed and (late or look.settled)]
        gone = list(self._stored)  # rows of folders that no look has asked for
        if now < self._not_before or not (changed or gone):
            return
        self._saved = now
        if not self._store.save({str(look.folder): look.to_json() for look in changed}, gone):
            self._not_before = now + SAVE_S  # locked, or on a full disk: not asked each second
            return
        self._stored.clear()
        for look in changed:
            look.changed = False


class _Look:
    """One run as last seen, with the stamps that tell whether it has to be read again."""

    def __init__(self, run_id: str, folder: Path, stored: Mapping[str, Any] | None) -> None:
        self.id = run_id
        self.folder = folder
        self.summary: RunSummary | None = None
        """None where the folder holds no run (yet, or any more)."""
        self.changed = False
        """Whether the cache does not have this yet."""
        self._events = str(folder / registry.EVENTS)
        self._recipe = str(folder / registry.RECIPE)
        self._events_stamp: Stamp = None
        self._recipe_stamp: Stamp = None
        self._digest = Digest()
        self._events_problem = ""
        self._config: dict[str, Any] = {}
        self._config_problem = ""
        self._alive = False
        if stored:
            self._restore(stored)

    @property
    def unread(self) -> bool:
        """Whether nothing has been read yet, here or by whoever wrote the cache."""
        return self.summary is None and self._events_stamp is None and self._recipe_stamp is None

    @property
    def settled(self) -> bool:
        """Whether the run has ended, so that little can happen to it."""
        return (
            self.summary is not None
            and not self._alive
            and self.summary.state.status not in ("queued", "running")
        )

    def at_all(self) -> None:
        """Look at the lock, the recipe and the events."""
        try:
            alive = lock.held(self.folder / "lock")  # before the events: see `Run.state`
        except OSError:
            alive = False
        recipe = _stamp(self._recipe)
        if recipe != self._recipe_stamp:
            self._recipe_stamp = recipe
            self._config, self._config_problem = read_config(Path(self._recipe)) if recipe else ({}, "")
            self.changed = True
            self.summary = None
        self._update(alive)

    def at_events(self) -> None:
        """Look only at whether the events have changed; if they have, at everything."""
        if _stamp(self._events) != self._events_stamp:
            self.at_all()

    def to_json(self) -> dict[str, Any]:
        """What the cache keeps."""
        return {
            "events": self._events_stamp,
            "recipe": self._recipe_stamp,
            "digest": self._digest.to_json(),
            "events_problem": self._events_problem,
            "config": self._config,
            "config_problem": self._config_problem,
        }

    def _restore(self, stored: Mapping[str, Any]) -> None:
        try:
            made = Digest.from_json(stored["digest"])
            config = {sys.intern(str(key)): value for key, value in stored["config"].items()}
            events, recipe = stored["events"], stored["recipe"]
        except (KeyError, TypeError, ValueError, AttributeError):
            return  # a row of something else: the files are read
        self._digest, self._config = made, config
        self._events_stamp = tuple(events) if events else None
        self._recipe_stamp = tuple(recipe) if recipe else None
        self._events_problem = str(stored.get("events_problem", ""))
        self._config_problem = str(stored.get("config_problem", ""))

    def _update(self, alive: bool) -> None:
        stamp = _stamp(self._events)
        if stamp is None and self._recipe_stamp is None:
            self.summary = None
            return
        if stamp != self._events_stamp:
            self._read_events(stamp)
        if self.summary is None or alive != self._alive:
            self._alive = alive
            self.summary = self._made()

    def _read_events(self, stamp: Stamp) -> None:
        self.summary, self.changed, self._events_stamp = None, True, stamp
        same_file = stamp is not None and self._digest.offset <= stamp[1]
        try:
            self._digest = digest.read(Path(self._events), self._digest if same_file else None)
            self._events_problem = ""
        except OSError as error:
            self._digest = Digest()
            gone = isinstance(error, FileNotFoundError)
            self._events_problem = "" if gone else f"events.jsonl cannot be read: {error.strerror}."

    def _made(self) -> RunSummary:
        state = settled(self._digest.state, self._alive)
        name = self._config.get("name")
        return RunSummary(
            id=self.id,
            folder=self.folder,
            name=name if isinstance(name, str) and name else _name_in(self.id),
            created=state.started or _created(self.id, self.folder),
            alive=self._alive,
            state=state,
            losses=self._digest.losses,
            tokens_per_s=self._digest.tokens_per_s,
            config=self._config,
            damaged=self._damage(),
        )

    def _damage(self) -> str:
        if self._events_problem:
            return self._events_problem
        if self._events_stamp is None:
            return "events.jsonl is gone: what the run did is not known."
        if self._digest.offset and not self._digest.events:
            return "Nothing in events.jsonl can be read."
        if self._recipe_stamp is None:
            return "train.yml is gone: the run cannot be resumed."
        if self._digest.unreadable:
            return f"{self._digest.unreadable} lines of events.jsonl cannot be read."
        return self._config_problem


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - called thousands of times a second; a Path costs as much again
    except (OSError, ValueError):
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def read_config(path: Path) -> tuple[dict[str, Any], str]:
    """The recipe by dotted key, and what is wrong with it."""
    from engine.config.yaml_reader import MAX_BYTES, read_yaml  # imported where a run is new: it costs 30 ms

    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 4).decode("utf-8")
        values = read_yaml(text, path.name, []).data()
    except OSError as error:
        return {}, f"train.yml cannot be read: {error.strerror}."
    except UnicodeDecodeError:
        return {}, "train.yml cannot be read: it is no text."
    except FtError as error:
        return {}, f"train.yml cannot be read: {error.message}"
    if not isinstance(values, dict):
        return {}, "train.yml cannot be read: it is no mapping."
    return dict(flattened(values)), ""


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as pairs of dotted key and value."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            pairs += flattened(value, f"{prefix}{key}.")
        else:
            pairs.append((sys.intern(f"{prefix}{key}"), value))
    return pairs


def _name_in(run_id: str) -> str:
    return run_id[16:] if _stamped(run_id) is not None else run_id


def _stamped(run_id: str) -> float | None:
    """The time that an id starts with, unix seconds."""
    try:
        return time.mktime(time.strptime(run_id[:15], "%Y%m%d-%H%M%S"))
    except (ValueError, OverflowError):
        return None


def _created(run_id: str, folder: Path) -> float:
    stamped = _stamped(run_id)
    if stamped is not None:
        return stamped
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
