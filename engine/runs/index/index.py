"""Index of all runs: a summary of each, cached between refreshes so that thousands cost little."""

import math
import time
from pathlib import Path
from typing import Any

from engine import paths
from engine.runs.directory import registry
from engine.runs.directory.run import Run
from engine.runs.directory.state import RunState
from engine.runs.index.run_scan import RunScan, Stamp, file_stamp
from engine.runs.index.store import Store
from engine.runs.index.summary import RunSummary

__all__ = ["Index", "RunSummary", "summary_of"]

FILE = "runs.sqlite"
LOOKS = 5
"""A run that has ended gets a full look each so many refreshes; in between only its events are looked at."""
SAVE_S = 30.0
"""Seconds between two writes of a training run to the cache; one that has ended is written immediately."""
RACY_S = 2.0
"""A folder changed so lately may change again within the same tick of its file system's clock."""


class Index:
    """Looks at the runs folder again and again, and reads again only what has changed.

    One thread at a time may use an index; any number of processes may have one of the same folder.
    """

    def __init__(self) -> None:
        self._store = Store(paths.cache() / FILE)
        self._stored: dict[str, dict[str, Any]] | None = None
        self._looks: dict[str, RunScan] = {}
        self._listed: tuple[Stamp, dict[str, Path]] = (None, {})
        self.unread = 0
        """Runs that the last look had no time for."""
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
        found, self.unread = [], 0
        for number, look in enumerate(self._looks.values()):
            if look.unread and time.monotonic() > until:
                self.unread += 1
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
        now = file_stamp(str(paths.runs()))
        if now is None or now != stamp or time.time() - now[2] / 1e9 < RACY_S:
            known = registry.candidates()
            self._listed = (now, known)
        return known

    def _look_at(self, run_id: str, folder: Path) -> RunScan:
        old = self._looks.get(run_id)
        if old is not None and old.folder == folder:
            return old
        assert self._stored is not None
        return RunScan(run_id, folder, self._stored.pop(str(folder), None))

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


def summary_of(run: Run) -> RunSummary:
    """One run at a glance, from the cache as far as that knows it, and remembered there.

    Never raises for what is in its directory.
    """
    folder, store = str(run.folder), Store(paths.cache() / FILE)
    look = RunScan(run.id, run.folder, store.load(folder).get(folder))
    look.at_all()
    if look.changed and look.summary is not None:
        store.save({folder: look.to_json()})
    return look.summary or RunSummary(run.id, run.folder, run.id, 0.0, False, RunState())
