"""Frees room: each removal is looked at again immediately before, moved out of sight, and deleted.

A kill at any moment leaves a thing whole, or a leftover under a name that nothing reads. Two cleans at once do no
harm: a name can be moved away only once.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from engine import paths
from engine.errors import ConfigError, FtError
from engine.export.output import Output
from engine.housekeeping import hub_cache
from engine.housekeeping.cached_files import REMOVING
from engine.housekeeping.facts import Facts
from engine.housekeeping.gather import Gatherer
from engine.housekeeping.hub_cache import Revision
from engine.housekeeping.policy import Policy, Removal, removals
from engine.models import starter
from engine.runs.directory import checkpoints, registry
from engine.runs.directory.run import Run
from engine.storage.disk_errors import explained


@dataclass(frozen=True)
class Outcome:
    """What became of a removal."""

    removal: Removal
    state: Literal["removed", "kept", "failed"]
    """`kept`: somebody has come to need it, or has removed it, since it was listed."""
    why: str = ""


def clean(
    policy: Policy, gatherer: Gatherer | None = None, tell: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Remove what the policy lets go. Never raises for one thing that cannot be removed: its outcome says why."""
    gatherer = gatherer or Gatherer()
    outcomes = []
    for removal in removals(gatherer.facts(policy.kinds), policy):
        outcome = _outcome(removal, policy, gatherer)
        outcomes.append(outcome)
        tell(outcome)
    return outcomes


def _outcome(removal: Removal, policy: Policy, gatherer: Gatherer) -> Outcome:
    try:
        with _undisturbed(removal):
            facts = _again(removal, gatherer)
            still = {path for one in removals(facts, policy) for path in one.paths}
            found = [path for path in removal.paths if path in still]
            if not found:
                return Outcome(removal, "kept", "it is gone, or needed again")
            _remove(replace(removal, paths=tuple(found)), facts)
    except (Timeout, ConfigError):  # its lock is held
        return Outcome(removal, "kept", "it is in use")
    except FileNotFoundError:
        return Outcome(removal, "kept", "it is gone")
    except OSError as error:
        return Outcome(removal, "failed", explained(error).message)
    except FtError as error:
        return Outcome(removal, "failed", error.message)
    return Outcome(removal, "removed")


def _again(removal: Removal, gatherer: Gatherer) -> Facts:
    """The facts of its kind, as they are now; its own run is held by our lock, which does not make it alive."""
    if removal.run is None:
        return gatherer.facts({removal.kind})
    folder = registry.candidates().get(removal.run)
    if folder is None:
        raise FileNotFoundError(removal.run)
    with gatherer.holding(removal.run):
        return gatherer.facts({removal.kind})


@contextmanager
def _undisturbed(removal: Removal) -> Iterator[None]:
    """Hold the lock of whoever could be using it; what has none is renamed in one step. Raises Timeout, ConfigError."""
    if removal.run is not None:
        folder = registry.candidates().get(removal.run)
        if folder is None or not folder.is_dir():
            raise FileNotFoundError(removal.run)
        with Run(folder, removal.run).locked():
            yield
        return
    lock = _lock_of(removal)
    if lock is None:
        yield
        return
    with FileLock(lock, timeout=0):
        yield


def _lock_of(removal: Removal) -> Path | None:
    """The file that its makers lock: of fetched rows, of a part of a download, of the starter."""
    first = removal.paths[0]
    if removal.kind == "cache" and first.parent == paths.cache() / "sources":
        return first.with_name(f"{first.name.partition('.')[0]}.lock")
    if removal.kind == "leftovers" and first.name.endswith(".part"):
        return first.with_name(f"{first.name}.lock")
    if removal.kind == "models" and removal.name == starter.NAME:
        return paths.models() / f".{starter.NAME}.lock"
    return None


def _remove(removal: Removal, facts: Facts) -> None:
    """Remove it for good. Raises OSError, MachineError."""
    if removal.kind == "checkpoints":
        checkpoints.remove(removal.paths[0])
    elif removal.kind == "hub":
        _remove_revision(_revision(removal, facts))
    elif removal.run is not None and (output := _output(removal)) is not None:
        output.clean_up()
    else:
        for path in removal.paths:
            remove_path(path)
    if (lock := _lock_of(removal)) is not None and removal.kind == "leftovers":
        lock.unlink(missing_ok=True)


def remove_path(path: Path) -> None:
    """Remove a file, or a folder, of which every reader sees all or nothing. Raises OSError; a link is refused."""
    if path.is_symlink():
        raise FileNotFoundError(str(path))  # what was there is not there any more
    if not path.is_dir():
        path.unlink()
        return
    if path.name.startswith((REMOVING, ".tmp-")):
        aside = path
    else:
        aside = path.rename(path.with_name(f"{REMOVING}{os.getpid()}-{time.monotonic_ns()}"))
    shutil.rmtree(aside)


def _output(removal: Removal) -> Output | None:
    """The folder that an interrupted export was to write, whose remains are these."""
    run = Run(registry.candidates()[removal.run or ""], removal.run)
    out = run.job.get("out")
    if not isinstance(out, str) or not out:
        return None
    output = Output(Path(out), run.id)
    return output if removal.paths[0] in (output.making, output.replaced) else None


def _revision(removal: Removal, facts: Facts) -> Revision:
    return next(one for repo in facts.hub for one in repo.revisions if one.snapshot == removal.paths[0])


def _remove_revision(revision: Revision) -> None:
    """Remove a snapshot, then those of its files that no other one has by then.

    The client's own `delete_revisions` deletes a snapshot file by file in its place, which a kill would leave half.
    """
    repo = revision.snapshot.parents[1]
    aside = revision.snapshot.rename(repo / f"{REMOVING}{os.getpid()}-{time.monotonic_ns()}")
    there, _ = hub_cache.scan()
    had = next(
        ({blob for one in found.revisions for blob in one.blobs} for found in there if found.folder == repo),
        None,
    )
    if had is not None:  # else the client cannot read what is left, and nobody knows which files it needs
        for blob in set(revision.blobs) - had:
            if blob.parent == repo / "blobs":
                blob.unlink(missing_ok=True)
    shutil.rmtree(aside)
    with suppress(OSError):
        shutil.rmtree(repo / ".no_exist" / revision.commit)
