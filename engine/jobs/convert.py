"""Job `convert`: a model's folder written as an MLX folder, which mlx-lm loads."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from engine.capabilities import Quantization
from engine.errors import ConfigError, MachineError
from engine.jobs.base import JobContext
from engine.runs.directory.events import Phase
from engine.runs.directory.run import Run

TELL_EVERY_S = 0.5
"""Time between two events while weights are written."""


@dataclass(frozen=True)
class Conversion:
    """Options of the job: the model's folder, the folder to write, and how its layers are held."""

    model: Path
    out: Path
    quantization: Quantization

    def create(self) -> Run:
        """A new run for this conversion. Raises MachineError where its folder cannot be made."""
        options = {"model": str(self.model), "out": str(self.out), "quantization": self.quantization}
        return Run.create_job("convert", f"convert-{self.out.name}", options)

    @staticmethod
    def of(run: Run) -> "Conversion":
        """The conversion that a run was created for. Raises ConfigError where its job.json is damaged."""
        try:
            model, out, quantization = (str(run.job[name]) for name in ("model", "out", "quantization"))
        except KeyError as error:
            raise ConfigError(
                f"{run.folder / 'job.json'} does not say {error}.", "Start the conversion again."
            ) from error
        return Conversion(Path(model), Path(out), cast(Quantization, quantization))

    def making(self, run: Run) -> Path:
        """Folder beside `out` that is filled, and becomes `out` at the end."""
        return self.out.with_name(f".{self.out.name}.making-{run.id}")


def run(context: JobContext) -> str:
    """Convert the model; returns `completed`.

    The folder has its name only once it is whole. Raises ModelError where the model does not load in MLX or cannot be
    held in so few bits, MachineError where the folder cannot be written, Stopped where a person stops it.
    """
    conversion = Conversion.of(context.run)
    making = conversion.making(context.run)
    try:
        making.mkdir(parents=True)
        context.run.emit(Phase(name="loading", note=conversion.model.name))
        from engine.backends.mlx.convert import convert

        context.poll()
        with _reporting(context.run, making):
            convert(conversion.model, making, conversion.quantization)
        context.poll()
        making.rename(conversion.out)
    except OSError as error:
        raise MachineError(
            f"Cannot write {error.filename or conversion.out}: {error.strerror or error}.",
            "Choose another folder with --out.",
        ) from error
    finally:
        clean_up(context.run)
    return "completed"


def clean_up(run: Run) -> None:
    """Remove a folder that was not finished."""
    with suppress(ConfigError):  # a damaged job.json names no folder
        shutil.rmtree(Conversion.of(run).making(run), ignore_errors=True)


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
