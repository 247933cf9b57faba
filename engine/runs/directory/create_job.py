"""New run directories: the folder of any, and that of a job of another kind than training."""

import json
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.runs.directory import registry
from engine.runs.directory.provenance import at_creation
from engine.runs.directory.run import Run
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining


def create_job(kind: str, name: str, options: Mapping[str, Any]) -> Run:
    """A new run directory in the runs folder for a job of another kind than training; see `engine.jobs`.

    `name` becomes a part of its id. The option `again`, if there is one, is the command that resumes it. Raises
    MachineError where the folder cannot be written.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:64]
    with claimed(safe, None) as run:
        write_atomic(run.folder / registry.JOB, json.dumps({"kind": kind} | dict(options), indent=2) + "\n")
    return run


@contextmanager
def claimed(name: str, folder: Path | None) -> Iterator[Run]:
    """A new run directory to be filled in the block; it is removed again where that fails."""
    wanted = folder.expanduser().absolute() if folder else None
    was_there = wanted is not None and wanted.is_dir()
    run_id, made = registry.claim(name, wanted)
    run = Run(made, run_id)
    try:
        with explaining(made):
            run.control.mkdir()
            run.record(at_creation(run_id, time.time(), shlex.join(sys.argv)))
            yield run
    except BaseException:  # ctrl-c, a full disk: half a run would be listed for ever
        _remove_tree(made, keep_folder=was_there)
        registry.forget(run_id)
        raise


def _remove_tree(folder: Path, keep_folder: bool) -> None:
    """Remove what has just been put into a folder that was empty, as far as the disk lets us."""
    if not keep_folder:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for entry in folder.iterdir():
        shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
