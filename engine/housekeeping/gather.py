"""Gathers what a policy decides on. A gatherer looks again and again, and reads again only what has changed."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.housekeeping import hub_cache
from engine.housekeeping.cached_files import cache_entries, dataset_files, model_folders
from engine.housekeeping.facts import Facts, Kind
from engine.housekeeping.leftovers import find_leftovers
from engine.housekeeping.run_records import RECORDS, RunRecord, read_record
from engine.runs.directory import lock, registry, skim
from engine.runs.directory.run import Run
from engine.runs.directory.state import RunState, settled
from engine.runs.index.run_scan import Stamp, file_stamp

WATCHED = (*RECORDS, registry.EVENTS, "checkpoints", "checkpoints/best", "checkpoints/last")
"""Files and folders of a run whose change means that its record has to be read again."""


class Gatherer:
    """Facts of now. `facts` may be asked as often as something is about to be removed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[Stamp, ...], RunRecord]] = {}
        self._ours: set[str] = set()

    @contextmanager
    def holding(self, run_id: str) -> Iterator[None]:
        """For whoever holds a run's lock: in the block, that does not make it alive, and its record is read anew."""
        self._ours.add(run_id)
        try:
            yield
        finally:
            self._ours.discard(run_id)

    def facts(self, kinds: Collection[Kind]) -> Facts:
        """What is there of these kinds, and all runs. Never raises for what is on the disk."""
        runs = tuple(self.run(run_id, folder) for run_id, folder in registry.candidates().items())
        hub, notes = hub_cache.scan() if {"hub", "leftovers"} & set(kinds) else ([], [])
        return Facts(
            now=time.time(),
            runs=runs,
            cache=tuple(cache_entries() if "cache" in kinds else ()),
            hub=tuple(hub),
            datasets=tuple(dataset_files() if "datasets" in kinds else ()),
            models=tuple(model_folders() if "models" in kinds else ()),
            leftovers=tuple(find_leftovers(runs, hub) if "leftovers" in kinds else ()),
            notes=tuple(notes),
        )

    def run(self, run_id: str, folder: Path) -> RunRecord:
        """One run as it is now."""
        run, ours = Run(folder, run_id), run_id in self._ours
        alive = not ours and _held(
            run
        )  # asked first: an engine that ends in between has written its last event
        stamps = (*(file_stamp(str(folder / name)) for name in WATCHED), (int(alive), 0, 0))
        known = self._known.get(run_id)
        if not ours and known is not None and known[0] == stamps:
            return known[1]
        record = read_record(run, settled(_state(run), alive), alive)
        self._known[run_id] = (stamps, record)
        return record


def _held(run: Run) -> bool:
    """Return True unless it is certain that no engine has the run's lock."""
    try:
        return lock.held(run.lock_file)
    except OSError:
        return True


def _state(run: Run) -> RunState:
    """State as the events say; of events that cannot be read, that of a run which has not ended."""
    try:
        return skim.read(run.events_file).state
    except (OSError, ValueError):
        return RunState()
