"""What a run's own files say: whether it has ended, which checkpoints it names, and what it may still need."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.housekeeping.disk import Meter, is_own_folder
from engine.runs.directory import registry
from engine.runs.directory.checkpoints import step_of, whole
from engine.runs.directory.recipe import read_config
from engine.runs.directory.run import Run
from engine.runs.directory.state import RunState
from engine.storage.regular_files import read_bytes, read_text

RECORDS = (registry.RECIPE, "source.yml", registry.JOB, "provenance.json")
"""Files in which a run names models, data and checkpoints."""
LONGEST = 8 << 20
"""Bytes that are read of each."""
CHECKPOINT = re.compile(r"([^\s/'\"=,]+)/checkpoints/step-(\d+)")
AT_STEP = re.compile(r"([^\s/'\"=,@]+)@(\d+)")
"""A checkpoint in a path, and one as `adapter.from` names it."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint of a run."""

    folder: Path
    step: int
    bytes: int


@dataclass(frozen=True)
class RunRecord:
    """One run, of whichever kind."""

    id: str
    folder: Path
    finished: bool
    """It has completed: nothing resumes it. All others may be resumed, the stopped, failed and crashed ones too."""
    alive: bool = False
    started: float = 0.0
    """Unix seconds of its first start; 0 where it was not started."""
    ended: float = 0.0
    """Unix seconds of its last event."""
    checkpoints: tuple[Checkpoint, ...] = ()
    named: frozenset[int] = frozenset()
    """Steps of the best checkpoint, the last one, and the one that is the result."""
    clear: bool = True
    """False where `best` or `last` is there and names no checkpoint, so that nobody can tell which those are."""
    text: str = ""
    """All that its records say."""
    commits: frozenset[str] = frozenset()
    """Commits of its model that it names."""
    fetched: bool = False
    """True where its rows come from elsewhere, and a copy in the cache may be the only one that is still the same."""
    linked: bool = False
    """True where its folder, or that of its checkpoints, is a link: what it leads to is not touched."""
    refers: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    """Checkpoints that it names: a run's name or a part of one, and the step."""


def read_record(run: Run, state: RunState, alive: bool) -> RunRecord:
    """Read a run's records; `state` is what its events say. Never raises for what is in its folder."""
    text, commits = _said(run.folder)
    named, clear = _named(run, state)
    linked = not is_own_folder(run.folder) or run.checkpoints.is_symlink()
    return RunRecord(
        run.id,
        run.folder,
        finished=state.status == "completed" and not alive,
        alive=alive,
        started=state.started or 0.0,
        ended=state.updated or 0.0,
        checkpoints=() if linked else tuple(_checkpoints(run)),
        named=named,
        clear=clear,
        text=text,
        commits=commits,
        fetched=_is_fetched(run.folder),
        linked=linked,
        refers=frozenset(
            (name, int(step))
            for pattern in (CHECKPOINT, AT_STEP)
            for name, step in pattern.findall(text)
            if len(step) < 18
        ),
    )


def _checkpoints(run: Run) -> Iterator[Checkpoint]:
    """The whole checkpoints in folders of their own; a link leads to somebody else's."""
    meter = Meter()
    for folder in _whole(run.checkpoints):
        if not folder.is_symlink():
            yield Checkpoint(folder, step_of(folder), meter.measure(folder).bytes)


def _whole(checkpoints: Path) -> list[Path]:
    try:
        return whole(checkpoints)
    except (OSError, ValueError):  # `step-x`, which ft has not written: then nothing there is touched
        return []


def _named(run: Run, state: RunState) -> tuple[frozenset[int], bool]:
    """Steps that the run names, and whether it is clear which they are."""
    steps, clear = {state.best_step, state.published}, True
    there = [step_of(checkpoint) for checkpoint in _whole(run.checkpoints)]
    for name in ("best", "last"):
        try:
            found = re.fullmatch(r"step-(\d{1,17})", read_text(run.checkpoints / name).strip())
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            found = None
        step = int(found[1]) if found else None
        clear = clear and step in there
        steps.add(step)
    steps.add(max(there, default=None))
    return frozenset(step for step in steps if step is not None), clear


def _said(folder: Path) -> tuple[str, frozenset[str]]:
    """The text of the records, as it is and with its escapes resolved; the commits of the model in them."""
    parts: list[str] = []
    for name in RECORDS:
        try:
            parts.append(read_bytes(folder / name, LONGEST).decode("utf-8", "replace"))
        except OSError:
            continue
    recipe, _ = read_config(folder / registry.RECIPE)
    job, provenance = _json(folder / registry.JOB), _json(folder / "provenance.json")
    for text in (text for body in (recipe, job, provenance) for text in _strings(body)):
        parts.append(text)
        if text.startswith("/") and "\0" not in text:
            parts.append(os.path.realpath(text))  # it may lead through a link of another name
    model = provenance.get("model")
    recorded = model.get("revision") if isinstance(model, dict) else None
    commits = (recipe.get("model.revision"), job.get("revision"), recorded)
    return "\n".join(parts), frozenset(one for one in commits if isinstance(one, str) and one)


def _json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _strings(value: Any) -> Iterator[str]:
    """All texts in a value of JSON or YAML."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _is_fetched(folder: Path) -> bool:
    """Return True unless all rows that a recipe names are files of this machine, or the starter's."""
    recipe, _ = read_config(folder / registry.RECIPE)
    rows = [value for key, value in recipe.items() if key.startswith(("data.train", "data.validation"))]
    named = [text for value in rows for text in _strings(value)]
    return any(text != "starter" and not text.startswith("/") for text in named)
