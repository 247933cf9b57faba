"""Launcher of a run's engine: starts it, stops it, and finds out how it ended."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import secrets
from engine.errors import KINDS, ConfigError, MachineError, TrainingError
from engine.jobs.base import secrets_of
from engine.jobs.registry import clean_up, needed_secrets, useful_secrets
from engine.process.postmortem import diagnose
from engine.runs.directory import control, lock
from engine.runs.directory.checkpoints import latest
from engine.runs.directory.events import Failed, Finished, Memory, Step
from engine.runs.directory.run import Run, training_already
from engine.runs.directory.state import last_word
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import open_handle

if TYPE_CHECKING:
    from engine.config.load import Recipe

GONE_S = 10.0
"""Seconds that the memory of a killed engine may take to go."""
FULL_BYTES = 64 << 10
"""With less free than this, an engine cannot even say that the disk is full."""
Check = Callable[[], None]
"""Raises RecipeError, DataError or ModelError where a recipe cannot be trained."""


@dataclass(frozen=True)
class Engine:
    """A started engine. Its events begin at `since`."""

    run: Run
    since: int
    supervisor: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End the engine immediately, its supervisor too; what it did since the last checkpoint is lost."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # both are gone already
            os.killpg(self.supervisor.pid, signal.SIGKILL)
        self.supervisor.wait()
        until = time.monotonic() + GONE_S
        while self.run.alive() and time.monotonic() < until:
            time.sleep(0.05)
        clean_up(self.run)


def checkpoint_to_resume(run: Run, wanted: Path | None = None) -> Path | None:
    """The checkpoint that a run resumes from: the wanted one, that of its reference, or its last; None if it has none.

    Raises ConfigError where the run is completed and no earlier checkpoint is wanted: nothing is left to train.
    """
    wanted = wanted or run.checkpoint
    if wanted is None and not run.alive() and run.state().status == "completed":
        raise ConfigError(
            f"Run {run.id} is completed; nothing is left to train.",
            f"Start a new run, or resume an earlier checkpoint: ft train --resume {run.checkpoints}/step-…",
        )
    return wanted or latest(run.folder)


def launch(
    recipe: "Recipe",
    folder: Path | None = None,
    *,
    force: bool = False,
    check: Check | None = None,
    cancelled: Callable[[], object] = bool,
) -> Engine:
    """Check a recipe, make a run of it, in `folder` where one is given, and start its engine.

    `check` takes the place of `preflight.check`. Where `cancelled` returns something true once the run is made, the run
    is removed and KeyboardInterrupt raised. Raises what the check, `create_run` and `start` raise.
    """
    from engine.process import preflight
    from engine.runs.directory.create import create_run

    preflight.check(recipe.config) if check is None else check()
    run = create_run(recipe, folder)
    if cancelled():
        run.remove()
        raise KeyboardInterrupt
    return start(run, force=force)


def resume(
    run: Run, checkpoint: Path | None = None, *, force: bool = False, check: Check | None = None
) -> Engine:
    """Start the engine of a run again from a checkpoint, see `checkpoint_to_resume`.

    `check` takes the place of `preflight.check`. Raises ConfigError where nothing is left to train, and what the check
    and `start` raise.
    """
    checkpoint = checkpoint_to_resume(run, checkpoint)
    from engine.process import preflight

    preflight.check(run.config) if check is None else check()
    return start(run, checkpoint, force)


def start(run: Run, resume: Path | None = None, force: bool = False) -> Engine:
    """Start a run's engine in a session of its own, from the beginning or from a checkpoint.

    From the return on, `run.alive()` holds until the engine has ended. Raises ConfigError where the run is
    training already, MachineError where its folder cannot be written, or a token it needs is in a locked keyring.
    """
    tokens = _tokens(run) | dict(run.addresses)
    with explaining():
        handle = lock.take(run.lock_file)
    if handle is None:
        raise training_already(run)
    with lock.holding(handle):
        control.clear(run)
        command = [
            sys.executable,
            "-P",
            "-m",
            "engine.process.supervisor",
            str(run.folder),
            "--lock",
            str(handle),
        ]
        command += ["--secrets"]
        command += ["--resume", str(resume)] if resume else []
        command += ["--force"] if force else []
        since = run.position()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with explaining(run.log), os.fdopen(open_handle(run.log, flags), "ab") as log:
            supervisor = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(handle,),
                env=secrets.without(),
                start_new_session=True,
            )
        assert supervisor.stdin is not None
        with supervisor.stdin:
            secrets.send(tokens, supervisor.stdin)
    return Engine(run, since, supervisor)


def outcome(run: Run, since: int = 0, code: int | None = None) -> Finished:
    """The event that ended a run whose engine is gone.

    Raises the error that the engine failed with; where it crashed without an exit message, TrainingError with the end
    of its log, or MachineError where the disk is full. `code` is the engine's exit code, if known.
    """
    last = last_word(run.events(since=since, without=(Step, Memory)))
    if isinstance(last, Finished):
        return last
    if isinstance(last, Failed):
        raise KINDS.get(last.kind, TrainingError)(last.message, last.hint)
    if code == MachineError.exit_code or _disk_is_full(run.folder):
        raise MachineError(
            f"The engine could not write to {run.folder}",
            f"Check that the disk has space and may be written. {run.how_to_resume}",
        )
    clean_up(run)
    death = diagnose(run, code, since)
    assert death is not None, "an engine without an exit message has crashed"
    raise TrainingError(death.message, death.hint)


def _tokens(run: Run) -> dict[str, str]:
    """The tokens that the run's job names, and no others. Raises MachineError where one that it needs is locked."""
    if run.kind == "train":
        return secrets.carried(secrets_of(run.config))
    return secrets.carried(needed_secrets(run), useful_secrets(run))


def _disk_is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL_BYTES
    except OSError:
        return True
