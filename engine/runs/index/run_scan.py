"""Scan of one run: the files that have to be read again, and the summary that they give."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.redaction import redacted_values
from engine.runs.directory import lock, registry, skim
from engine.runs.directory.recipe import read_config
from engine.runs.directory.run import Run
from engine.runs.directory.skim import RunSkim
from engine.runs.directory.state import settled
from engine.runs.index.summary import RunSummary

Stamp = tuple[int, int, int] | None
"""Inode, size and time of change in nanoseconds; None for a file that is not there."""


class RunScan:
    """One run as last seen, with the stamps that tell whether it has to be read again."""

    def __init__(self, run_id: str, folder: Path, stored: Mapping[str, Any] | None) -> None:
        self.id = run_id
        self.folder = folder
        self.summary: RunSummary | None = None
        """None where the folder holds no run (yet, or any more)."""
        self.changed = False
        """True if the cache does not have this yet."""
        self._events = str(folder / registry.EVENTS)
        self._recipe = str(folder / registry.RECIPE)
        self._job = str(folder / registry.JOB)
        self._events_stamp: Stamp = None
        self._recipe_stamp: Stamp = None
        self._skimmed = RunSkim()
        self._events_problem = ""
        self._config: dict[str, Any] = {}
        self._config_problem = ""
        self._alive = False
        self._kind: str | None = None
        if stored:
            self._restore(stored)

    @property
    def unread(self) -> bool:
        """True if nothing has been read yet, here or by whoever wrote the cache."""
        return self.summary is None and self._events_stamp is None and self._recipe_stamp is None

    @property
    def settled(self) -> bool:
        """True if the run has ended, so that little can happen to it."""
        return (
            self.summary is not None
            and not self._alive
            and self.summary.state.status not in ("new", "running")
        )

    def at_all(self) -> None:
        """Look at the lock, the recipe and the events."""
        try:
            alive = lock.held(self.folder / "lock")  # before the events: see `Run.state`
        except OSError:
            alive = False
        recipe = file_stamp(self._recipe)
        if recipe != self._recipe_stamp:
            self._recipe_stamp = recipe
            config, self._config_problem = read_config(Path(self._recipe)) if recipe else ({}, "")
            self._config = redacted_values(config)  # a run of ft 0.1.0 may have passwords in addresses
            self.changed = True
            self.summary = None
        self._update(alive)

    def at_events(self) -> None:
        """Look only at whether the events have changed; if they have, at everything."""
        if file_stamp(self._events) != self._events_stamp:
            self.at_all()

    def to_json(self) -> dict[str, Any]:
        """Row for the cache."""
        return {
            "events": self._events_stamp,
            "recipe": self._recipe_stamp,
            "digest": self._skimmed.to_json(),
            "events_problem": self._events_problem,
            "config": self._config,
            "config_problem": self._config_problem,
            "kind": self._kind,
        }

    def _restore(self, stored: Mapping[str, Any]) -> None:
        try:
            made = RunSkim.from_json(stored["digest"])
            config = {sys.intern(str(key)): value for key, value in stored["config"].items()}
            events, recipe = stored["events"], stored["recipe"]
        except (KeyError, TypeError, ValueError, AttributeError):
            return  # a row of something else: the files are read
        self._skimmed, self._config = made, config
        self._events_stamp = tuple(events) if events else None
        self._recipe_stamp = tuple(recipe) if recipe else None
        self._events_problem = str(stored.get("events_problem", ""))
        self._config_problem = str(stored.get("config_problem", ""))
        self._kind = stored.get("kind")

    def _update(self, alive: bool) -> None:
        stamp = file_stamp(self._events)
        if stamp is None and self._recipe_stamp is None:
            self.summary = None
            return
        if stamp != self._events_stamp:
            self._read_events(stamp)
        if self._kind is None and (
            self._recipe_stamp or alive or self._skimmed.offset or file_stamp(self._job)
        ):
            # It is written before an engine starts, but after the folder is there.
            self._kind = Run(self.folder, self.id).kind
        if self.summary is None or alive != self._alive:
            self._alive = alive
            self.summary = self._made()

    def _read_events(self, stamp: Stamp) -> None:
        self.summary, self.changed, self._events_stamp = None, True, stamp
        same_file = stamp is not None and self._skimmed.offset <= stamp[1]
        try:
            self._skimmed = skim.read(Path(self._events), self._skimmed if same_file else None)
            self._events_problem = ""
        except OSError as error:
            self._skimmed = RunSkim()
            gone = isinstance(error, FileNotFoundError)
            self._events_problem = "" if gone else f"events.jsonl cannot be read: {error.strerror}."

    def _made(self) -> RunSummary:
        state = settled(self._skimmed.state, self._alive)
        name = self._config.get("name")
        return RunSummary(
            id=self.id,
            folder=self.folder,
            name=name if isinstance(name, str) and name else registry.name_in(self.id),
            created=state.started or _created(self.id, self.folder),
            alive=self._alive,
            state=state,
            losses=self._skimmed.losses,
            tokens_per_s=self._skimmed.tokens_per_s,
            totals=self._skimmed.totals,
            config=self._config,
            kind=self._kind or "train",
            damaged=self._damage(),
        )

    def _damage(self) -> str:
        if self._events_problem:
            return self._events_problem
        if self._events_stamp is None:
            return "events.jsonl is gone: what the run did is not known."
        if self._skimmed.offset and not self._skimmed.events:
            return "Nothing in events.jsonl can be read."
        being_made = self._kind is None and not self._skimmed.offset  # its engine, at least, has not started
        if self._recipe_stamp is None and self._kind in (None, "train") and not being_made:
            return "train.yml is gone: the run cannot be resumed."
        if self._skimmed.unreadable:
            return f"{self._skimmed.unreadable} lines of events.jsonl cannot be read."
        return self._config_problem


def file_stamp(path: str) -> Stamp:
    """Inode, size and time of change, which differ once a file has changed."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called thousands of times a second; a Path costs as much again
    except (OSError, ValueError):
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _created(run_id: str, folder: Path) -> float:
    stamped = registry.started_at(run_id)
    if stamped is not None:
        return stamped
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
