"""The engine process: does the job of a run directory, for most a training.

    python -P -m engine.process.worker RUN_DIR [--resume CHECKPOINT] [--lock FD] [--force] [--secrets]

It holds the run's lock, obeys `control/`, and turns the job's end into the last event and an exit code; the work itself
is in `engine.jobs`. All that it has to say goes into the run's events; what libraries print goes to worker.log.
"""

import argparse
import faulthandler
import os
import re
import sys
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import cast

from engine import secrets
from engine.clean_logs import redact_output
from engine.errors import FtError, MachineError
from engine.hardware.memory import is_exhaustion
from engine.jobs.base import JobContext, Stopped
from engine.jobs.registry import job
from engine.process.hangs import STACKS_SIGNAL
from engine.process.postmortem import MEMORY_EXIT
from engine.runs.directory import lock
from engine.runs.directory.control import Control
from engine.runs.directory.events import Failed, Finished, Started
from engine.runs.directory.run import Run
from engine.storage.disk_errors import CAUSES, explained

QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "true",
}


def main() -> int:
    """Run the engine; returns its exit code."""
    parser = argparse.ArgumentParser(prog="engine.process.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--lock", type=int, help="open file that has the run's lock already")
    parser.add_argument("--force", action="store_true", help="train even if the plan does not fit")
    parser.add_argument("--secrets", action="store_true", help="tokens come as one JSON line on stdin")
    arguments = parser.parse_args()
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    if arguments.secrets:
        secrets.adopt(secrets.receive(sys.stdin.buffer))
    redact_output()
    settle_libraries()
    run = Run.open(arguments.folder)
    with _lock(run, arguments.lock):
        return _run(run, arguments.resume, arguments.force)


def settle_libraries() -> None:
    """Keep the libraries of this process quiet, and from running code of the hub that no recipe names.

    Where the package `kernels` is installed, bitsandbytes and transformers fetch compiled code through it, the first
    as soon as it is imported. For a process of its own only, and before anything heavy is imported.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    no_module = cast(ModuleType, None)  # Python's own sign for one that is not there
    sys.modules.setdefault("kernels", no_module)


def _lock(run: Run, handle: int | None) -> AbstractContextManager[None]:
    if handle is None:
        return run.locked()
    os.set_inheritable(handle, False)  # else a child that outlives the engine would keep the run alive
    return lock.holding(handle)


def _run(run: Run, resume: Path | None, force: bool) -> int:
    """Do the run's job, and turn its end into the last event and an exit code."""
    try:
        control = Control(run)
        control.install_signals()
        run.emit(Started(run=run.id, pid=os.getpid(), resumed_from=_step_of(resume)))
        try:
            reason = job(run.kind)(JobContext(run, control, resume, force))
        except Stopped:
            reason = "stopped"
        run.emit(Finished(reason=reason, step=run.state().step))
        return 0
    except Exception as error:
        traceback.print_exc()
        if is_exhaustion(error):  # also where it was taken for a file that does not load
            return MEMORY_EXIT
        if isinstance(error, FtError):
            return _fail(run, error)
        if isinstance(error, OSError) and error.errno in CAUSES:
            return _fail(run, explained(error))
        message = f"The engine failed: {type(error).__name__}: {error}"
        return _fail(run, FtError(message, f"The whole traceback is in {run.log}"))


def _fail(run: Run, error: FtError) -> int:
    try:
        run.emit(Failed(kind=error.kind, message=error.message, hint=error.hint))
    except MachineError:
        traceback.print_exc()  # a full disk takes no event; the exit code still says it
        return MachineError.exit_code
    return error.exit_code


def _step_of(checkpoint: Path | None) -> int | None:
    found = re.search(r"(\d+)$", checkpoint.name) if checkpoint else None
    return int(found[1]) if found else None


if __name__ == "__main__":
    sys.exit(main())
