"""Job `push`: weights with their card, uploaded to a repository of the hub."""

import shlex
from contextlib import suppress
from dataclasses import dataclass

from engine import secrets
from engine.errors import ConfigError
from engine.jobs.base import JobContext
from engine.publishing.upload import MAIN, Target, only_lfs
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Phase, Warned
from engine.runs.directory.registry import model_name
from engine.runs.directory.run import Run

KIND = "push"
PUSHED, FILES, LEFT_OUT = "pushed", "files", "left_out"
"""Keys of the run's provenance: the commit, the files with their sizes in bytes, and names of those that stay here."""


@dataclass(frozen=True)
class Push:
    """Options of the job: what `PushSource.find` takes, the repository, who may see it, commit message and branch."""

    model: str
    to: str
    public: bool = False
    message: str = "Push with ft"
    revision: str = MAIN
    dry_run: bool = False
    """Only list the files; nothing leaves this machine."""

    def create(self) -> Run:
        """A new run for this push. Raises MachineError where its folder cannot be made."""
        words = ["ft", "push", self.model, "--to", self.to]
        words += ["--public"] if self.public else []
        words += ["--message", self.message, "--revision", self.revision]
        words += ["--dry-run"] if self.dry_run else []
        options = {
            "model": self.model,
            "to": self.to,
            "public": self.public,
            "message": self.message,
            "revision": self.revision,
            "dry_run": self.dry_run,
        }
        return create_job(KIND, f"push-{model_name(self.model)}", options | {"again": shlex.join(words)})

    @staticmethod
    def of(run: Run) -> "Push":
        """The push that a run was created for. Raises ConfigError where its job.json is damaged."""
        try:
            model, to, message, revision = (
                str(run.job[key]) for key in ("model", "to", "message", "revision")
            )
            public, dry_run = run.job["public"] is True, run.job.get("dry_run") is True
            return Push(model, to, public, message, revision, dry_run)
        except KeyError as error:
            raise ConfigError(f"{run.folder / 'job.json'} is damaged: {error}.", "Push again.") from error

    def running(self) -> Run | None:
        """The run that pushes this now, if there is one. Raises MachineError."""
        for run in Run.all():
            with suppress(ConfigError):
                if run.kind == KIND and Push.of(run) == self and run.alive():
                    return run
        return None


def token() -> str:
    """The hub's token: the environment's or the keyring's, else that of `hf auth login`.

    Raises ConfigError where there is none, MachineError where the keyring is locked.
    """
    from engine.publishing.hub_errors import no_token

    found = secrets.get(secrets.HF_TOKEN)
    if found is None:
        from huggingface_hub import get_token

        found = get_token()
    if not found:
        raise no_token()
    return found


def run(context: JobContext) -> str:
    """Upload and commit, or list what would be; returns `completed`. Files and commit are in the run's provenance.

    However it ends, what the hub has taken is not sent again by the next push. Raises ConfigError, HubError or
    MachineError where it cannot be pushed, Stopped where a person stops it.
    """
    only_lfs()
    from engine.publishing.source import PushSource
    from engine.publishing.upload import push

    wanted = Push.of(context.run)
    what = "listing the files for" if wanted.dry_run else "pushing to"
    context.run.emit(Phase(name="loading", note=f"{what} {wanted.to}"))
    context.poll()
    source = PushSource.find(wanted.model)
    target = Target(wanted.to, wanted.public, wanted.revision)
    made = source.made(wanted.to)
    sizes = source.files.sizes | {name: len(body) for name, body in made.items()}
    context.run.record({FILES: sizes, LEFT_OUT: list(source.files.left_out)})
    if wanted.dry_run:
        return "completed"
    done = push(source.files, made, target, wanted.message, token(), context.loading())
    context.run.record({PUSHED: {"url": done.url, "commit": done.commit, "repo": wanted.to}})
    if done.missing:
        message = f"{wanted.to} has not taken {', '.join(done.missing)}: its .gitignore leaves them out."
        context.run.emit(Warned(message=message, hint="Change that file on the hub and push again."))
    return "completed"


def needed_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens without which a push fails."""
    return () if Push.of(run).dry_run else (secrets.HF_TOKEN,)
