"""A run directory: all that one run of a job is, on disk; most are trainings."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError
from engine.redaction import redacted_values
from engine.runs.directory import lock, log, registry, skim
from engine.runs.directory.events import Eval, Event, Memory, Step, beginning, published
from engine.runs.directory.result import Result
from engine.runs.directory.state import RunState, current, settled
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import read_text

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.planning.plan import Plan


class Run:
    """One run. Any number of processes may read it; the engine that holds its lock writes it."""

    def __init__(
        self,
        folder: Path,
        run_id: str | None = None,
        checkpoint: Path | None = None,
        addresses: "Mapping[str, str] | None" = None,
    ) -> None:
        self.folder = folder
        self.id = run_id or folder.name
        self.checkpoint = checkpoint
        """The checkpoint that the reference given to `open` named, if it named one."""
        self.addresses = addresses or {}
        """Whole addresses of a new run's data by the names of their secrets: they are handed to the engine, and are
        in none of the run's files."""
        self.events_file = folder / registry.EVENTS
        self.lock_file = folder / "lock"
        self.control = folder / "control"
        self.checkpoints = folder / "checkpoints"
        self.adapter = folder / "adapter"
        self.model = folder / "model"
        """Result of full training, in place of an adapter."""
        self.start = folder / "start"
        """A copy of the adapter that the run starts from, where its recipe names one."""
        self.log = folder / "worker.log"
        self.heartbeat = folder / "heartbeat"
        """Changed while the engine's main thread makes progress; see `engine.runs.directory.heartbeat`."""

    @property
    def kind(self) -> str:
        """Kind of its job, a module of `engine.jobs`: `train` where the folder names no other."""
        return str(self.job.get("kind", "train"))

    @property
    def job(self) -> Mapping[str, Any]:
        """Kind and options of a job that is not a training; empty for a training, or where the file is damaged."""
        try:
            body = json.loads(read_text(self.folder / registry.JOB))
        except (OSError, ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}

    @property
    def how_to_resume(self) -> str:
        """Hint for a run that has ended before its end."""
        if self.kind == "train":
            return f"Resume: ft train --resume {self.id}"
        return f"Resume: {again}" if (again := self.job.get("again")) else "Start it again."

    @staticmethod
    def open(reference: "str | Path | None" = None) -> "Run":
        """The run of an id, a unique prefix of one, a path, or a checkpoint's path; None = the latest.

        Raises ConfigError that says which runs there are.
        """
        run_id, folder, checkpoint = registry.find(reference)
        return Run(folder, run_id, checkpoint)

    @staticmethod
    def all() -> "list[Run]":
        """Every run that is there, newest first, the damaged ones too."""
        return [Run(folder, run_id) for run_id, folder in registry.folders().items()]

    @property
    def config(self) -> "TrainConfig":
        """The recipe as resolved. Raises ConfigError where it is gone or broken."""
        from engine.config.load import load_recipe

        return load_recipe(self.folder / registry.RECIPE).config

    @property
    def plan(self) -> "Plan | None":
        """The plan; None before there is one, or where the file is broken."""
        from engine.planning.plan import Plan

        try:
            return Plan.from_json(read_text(self.folder / "plan.json"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    @property
    def provenance(self) -> dict[str, Any]:
        """Provenance of the run: versions, machine, fingerprints, command. Empty where unreadable."""
        try:
            body = json.loads(read_text(self.folder / "provenance.json"))
        except (OSError, ValueError, RecursionError):
            return {}
        return redacted_values(body) if isinstance(body, dict) else {}  # those of older runs had passwords

    def record(self, facts: "dict[str, Any]") -> None:
        """Add facts to `provenance.json`, without the secrets in them."""
        body = json.dumps(self.provenance | redacted_values(facts), indent=2, sort_keys=True, default=str)
        write_atomic(self.folder / "provenance.json", body + "\n")

    def emit(self, event: Event) -> None:
        """Append one whole line to the events, without secrets. Raises MachineError where the disk says no."""
        with explaining(self.events_file):
            log.append(self.events_file, published(event))

    def events(
        self, follow: bool = False, since: int = 0, without: tuple[type[Event], ...] = ()
    ) -> Iterator[Event]:
        """All events from the first, or from a `position`; with `follow`, continue until the engine is gone.

        Those of the kinds `without` are passed over without being decoded, which is what reading them costs.
        """
        skipped = tuple(beginning(kind) for kind in without)
        return log.read(self.events_file, self.alive if follow else None, since, skipped)

    def evaluations(self) -> list[Eval]:
        """The evaluations that hold, oldest first."""
        events = self.events(without=(Step, Memory))  # of which a long run has a million
        return [event for event in current(events) if isinstance(event, Eval)]

    def begun(self) -> date:
        """The day on which the run was first started: a template that writes the date has to write it on resuming too.

        Raises ConfigError where the events tell no time.
        """
        first = next(iter(self.events()), None)
        try:
            return date.fromtimestamp(math.nan if first is None else first.t)
        except (OverflowError, ValueError, OSError) as error:
            raise ConfigError(
                f"{self.events_file} does not say when the run was started: {error}.",
                "The file is damaged; start a new run: ft train",
            ) from error

    def position(self) -> int:
        """Offset at which the events written from now on will start, for `events(since=…)`."""
        try:
            return log.whole_length(self.events_file)
        except FileNotFoundError:
            return 0

    def alive(self) -> bool:
        """Return True if the run's engine lives: that its lock is held, not that a pid exists. Raises MachineError."""
        with explaining():
            return lock.held(self.lock_file)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run's lock. Raises ConfigError where another engine holds it, MachineError where none can."""
        with explaining():
            handle = lock.take(self.lock_file)
        if handle is None:
            raise training_already(self)
        return lock.holding(handle)

    def state(self) -> RunState:
        """State of the run now."""
        alive = self.alive()  # asked first: an engine that ends in between has written its last event
        try:
            state = skim.read(self.events_file).state
        except FileNotFoundError:
            state = RunState()
        return settled(state, alive)

    def result(self, state: RunState | None = None) -> Result | None:
        """The run's result as of `state` (None: now); None before there is one."""
        return Result.of(self.folder, state or self.state())

    def remove(self) -> None:
        """Delete the run, and where its folder is a link, what that leads to and the link.

        Raises ConfigError where it is training, MachineError where it must stay.
        """
        with self.locked(), explaining():
            shutil.rmtree(self.folder.resolve())
            registry.forget(self.id)


def training_already(run: Run) -> ConfigError:
    """The error for a second engine that wants a run."""
    return ConfigError(
        f"Run {run.id} is {'training' if run.kind == 'train' else 'at work'} already.",
        f"Watch it with: ft attach {run.id}   End it with: ft stop {run.id}",
    )
