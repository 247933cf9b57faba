"""Job `export`: a trained model, or one as it is, written in the files of another program."""

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, MachineError
from engine.export.registry import exporter_named
from engine.jobs.base import TELL_EVERY_S, JobContext
from engine.runs.directory.create import create_job
from engine.runs.directory.events import Phase
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel


@dataclass(frozen=True)
class Export:
    """Options of the job: what `TrainedModel.find` takes, the exporter's name, the folder to write, its options."""

    model: str
    exporter: str
    out: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    def create(self) -> Run:
        """A new run for this export. Raises MachineError where its folder cannot be made."""
        body = {"model": self.model, "exporter": self.exporter, "out": str(self.out)}
        name = f"export-{self.exporter}-{self.out.name}"
        return create_job("export", name, body | {"options": dict(self.options)})

    @staticmethod
    def of(run: Run) -> "Export":
        """The export that a run was created for. Raises ConfigError where its job.json is damaged."""
        try:
            model, exporter, out = (str(run.job[name]) for name in ("model", "exporter", "out"))
            return Export(model, exporter, Path(out), dict(run.job["options"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{run.folder / 'job.json'} is damaged: {error}.", "Start the export again."
            ) from error

    def making(self, run: Run) -> Path:
        """Folder beside `out` that is filled, and becomes `out` at the end."""
        return self.out.with_name(f".{self.out.name}.making-{run.id}")


def run(context: JobContext) -> str:
    """Write the model; returns `completed`.

    The folder has its name only once it is whole. Raises ModelError where the model cannot be written so, MachineError
    where the folder cannot be written, Stopped where a person stops it.
    """
    export = Export.of(context.run)
    making = export.making(context.run)
    try:
        making.mkdir(parents=True)
        model = TrainedModel.find(export.model)
        context.run.emit(Phase(name="loading", note=Path(export.model).name))
        context.poll()
        with _reporting(context.run, making):
            exporter_named(export.exporter).export(model, making, export.options, context.poll)
        context.poll()
        making.rename(export.out)
    except OSError as error:
        raise MachineError(
            f"Cannot write {error.filename or export.out}: {error.strerror or error}.",
            "Choose another folder with --out.",
        ) from error
    finally:
        clean_up(context.run)
    return "completed"


def clean_up(run: Run) -> None:
    """Remove a folder that was not finished."""
    with suppress(ConfigError):  # a damaged job.json names no folder
        shutil.rmtree(Export.of(run).making(run), ignore_errors=True)


@contextmanager
def _reporting(run: Run, folder: Path) -> Iterator[None]:
    """Tell of the bytes that are written into a folder, for the length of the block."""
    done = threading.Event()

    def report() -> None:
        told = 0
        while not done.wait(TELL_EVERY_S):
            written = sum(path.stat().st_size for path in folder.iterdir())
            if written != told:
                told = written
                run.emit(Phase(name="saving", note=f"{written / 1e6:,.0f} MB written"))

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
