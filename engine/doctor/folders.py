"""Folders that ft writes to: rights, space and locks; and what lies in them damaged."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine import paths
from engine.config.load import load_text
from engine.doctor.finding import Finding, fault, note, ok, warning
from engine.errors import FtError
from engine.models import catalogue, hub
from engine.runs.index.index import Index
from engine.storage.regular_files import read_text
from engine.text import listed
from engine.units import size

LITTLE_BYTES = 5_000_000_000
"""Free space under which the weights of a 1B model with its checkpoints may not fit."""
TEMPORARY_BYTES = 200_000_000
RUNS_S = 0.3
"""Seconds for runs that were never looked at before; the others cost nothing."""


def findings() -> Iterator[Finding]:
    """The folders and what is in them."""
    home = paths.home()
    yield from folder("home", home, "FT_HOME", LITTLE_BYTES, "ft storage shows what takes space.")
    yield from folder(
        "temporary", Path(tempfile.gettempdir()), "TMPDIR", TEMPORARY_BYTES, "Free space there."
    )
    yield from folder(
        "hub-cache", hub.cache_place(), "HF_HOME", LITTLE_BYTES, "ft storage shows what takes space."
    )
    yield from models()
    yield from profiles()
    yield from runs()


def folder(name: str, place: Path, variable: str, least: int, free: str) -> Iterator[Finding]:
    """One folder: that it is one, may be written to, has `least` bytes free, and that its locks hold."""
    there = next((one for one in (place, *place.parents) if one.exists()), place)
    mend = f"Change its permissions, or set {variable} to a folder that you can write to."
    if not there.is_dir():
        yield fault(name, f"{there} is no folder.", f"Move it away, or set {variable} to a folder.")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".ft-doctor-") as file:
            file.write(b"ft")
            file.flush()
            holds = _lock_holds(Path(file.name))
    except OSError as error:
        yield fault(name, f"{there} cannot be written to: {error.strerror}.", mend)
        return
    if not holds:
        yield fault(
            f"{name}-locks",
            f"The file system of {place} gives two programs the same lock: two runs could write one directory.",
            f"Set {variable} to a folder on a local disk.",
        )
    left = shutil.disk_usage(there).free
    text = f"{place}: {size(left)} free"
    if left < least:
        yield warning(name, text, f"{free} {variable} moves it to another disk.")
    else:
        yield ok(name, text)


def models() -> Iterator[Finding]:
    """The starter and the other models on this disk."""
    try:
        entries = catalogue.entries()
    except (FtError, OSError) as error:
        yield fault("models", f"The models cannot be listed: {error}", "See: ft models list")
        return
    starter, *others = entries
    if starter.state == "absent":
        yield warning("starter", "The starter model is not on this machine.", "ft models pull starter")
    else:
        how = "ready" if starter.state == "ready" else "installed; it is converted when it is first used"
        yield ok("starter", f"The starter model is {how}")
    ready = [entry for entry in others if entry.state == "ready"]
    if ready:
        yield ok("models", f"{len(ready)} other models: {listed((entry.name for entry in ready), 5)}")
    for entry in others:
        if entry.state == "incomplete":
            again = f"ft models pull {entry.name}" if entry.source == "hub" else f"ft models rm {entry.name}"
            yield warning("model-incomplete", f"The model {entry.name} is not complete.", again)


def profiles() -> Iterator[Finding]:
    """A person's own profiles, which `ft init` offers."""
    for file in sorted(paths.profiles().glob("*.yml")):
        try:
            load_text(read_text(file), file)
        except FtError as error:
            yield fault(
                "profile", f"The profile {file} cannot be used: {error.message}", f"Mend it, or: rm {file}"
            )
        except (OSError, UnicodeDecodeError) as error:
            yield fault("profile", f"The profile {file} cannot be read: {error}", f"Mend it, or: rm {file}")


def runs() -> Iterator[Finding]:
    """The runs, and those whose directories are damaged."""
    if not paths.runs().is_dir():
        return
    index = Index()
    found = index.refresh(RUNS_S)
    for run in found:
        if run.damaged:
            mend = f"ft runs show {run.id} says what is left of it; ft runs rm {run.id} removes it"
            yield warning("run-damaged", f"The run {run.id} is damaged: {run.damaged}", mend)
    if found:
        unread = f", {index.unread} not looked at yet" if index.unread else ""
        yield ok("runs", f"{len(found)} runs, {sum(run.alive for run in found)} at work{unread}")
    else:
        yield note("runs", "No runs yet.")


def _lock_holds(file: Path) -> bool:
    """Return True if the file system keeps a second holder out, as a run's lock needs it to."""
    with file.open() as first, file.open() as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
