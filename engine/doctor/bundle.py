"""A report for whoever helps: findings, versions and a run's records in a zip file, without secrets or rows of data."""

import getpass
import json
import re
import socket
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from engine import paths
from engine.doctor.examine import Report
from engine.doctor.prove.claim import Claim
from engine.errors import ConfigError
from engine.redaction import redacted, redacted_values
from engine.runs.directory.run import Run
from engine.runs.index.index import Index
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import read_text

OF_RUN = ("source.yml", "train.yml", "plan.json", "provenance.json", "job.json")
LOG_BYTES = 100_000
"""The end of a log that is taken, and as much of the events."""
ROW_EVENTS = ("sample",)
"""Events that repeat rows or answers."""
RECENT_S = 1.0
"""Seconds to look for the newest run that failed."""
SHORTEST = 3
"""Letters of the shortest user or host name that is replaced: a shorter one would be found inside words."""


def write(report: Report, claims: Sequence[Claim] | None, run: Run | None, to: Path) -> list[str]:
    """Write the file; names of what is in it. `claims` are those of `ft doctor --prove`, if it ran.

    Raises ConfigError where `to` is there already, MachineError where it cannot be written.
    """
    if to.exists():
        raise ConfigError(f"{to} is there already.", "Give another name: ft doctor --bundle FILE")
    bodies = dict(_bodies(report, claims, run))
    with explaining(to), zipfile.ZipFile(to, "x", zipfile.ZIP_DEFLATED) as file:
        for name, text in bodies.items():
            file.writestr(name, anonymous(redacted(text)))
    return list(bodies)


def failed_run() -> Run | None:
    """The newest run that failed, whose records tell most; None where none did."""
    newest = sorted(Index().refresh(RECENT_S), key=lambda run: -run.created)
    return next((Run(run.folder, run.id) for run in newest if run.state.status == "failed"), None)


def anonymous(text: str) -> str:
    """The text without the names of the person, the home folder and the machine."""
    text = text.replace(str(Path.home()), "~")
    for name, instead in ((_user(), "USER"), (socket.gethostname(), "HOST")):
        if len(name) >= SHORTEST and name not in ("root", "localhost"):
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", instead, text)
    return text


def _bodies(report: Report, claims: Sequence[Claim] | None, run: Run | None) -> Iterator[tuple[str, str]]:
    yield "doctor.json", _json(report.to_json())
    if claims is not None:
        yield "claims.json", _json([claim.to_json() for claim in claims])
    versions = sorted({f"{one.metadata['Name']} {one.version}" for one in distributions()}, key=str.lower)
    yield "packages.txt", "\n".join(versions) + "\n"
    settings = paths.home() / "settings.json"
    if settings.is_file():
        yield "settings.json", _text(settings)
    if run is not None:
        yield from _of_run(run)


def _of_run(run: Run) -> Iterator[tuple[str, str]]:
    for name in OF_RUN:
        if (run.folder / name).is_file():
            yield f"run/{name}", _text(run.folder / name)
    if run.events_file.is_file():
        yield "run/events.jsonl", "\n".join(_events(run.events_file)) + "\n"
    if run.log.is_file():
        yield "run/worker.log", _text(run.log)[-LOG_BYTES:]


def _events(file: Path) -> Iterator[str]:
    """The last lines of the events, without those that repeat rows or answers."""
    for line in _text(file)[-LOG_BYTES:].splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):  # torn, or cut by the limit
            continue
        if isinstance(event, dict) and event.get("type") not in ROW_EVENTS:
            yield json.dumps(redacted_values(event))


def _text(file: Path) -> str:
    try:
        return read_text(file, errors="replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _json(body: Any) -> str:
    return json.dumps(redacted_values(body), indent=1) + "\n"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return ""
