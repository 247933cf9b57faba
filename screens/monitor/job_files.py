"""Files of a job that is no training, as Monitor shows them: its options, and what came of it. Needs no terminal."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.evaluation.files import RESULT
from engine.export.output import MARK
from engine.runs.directory import registry
from engine.runs.directory.run import Run
from engine.storage.regular_files import read_text

PROOF = "proof.json"
"""File of an export's run: the report of the parity gate."""
PROVENANCE = "provenance.json"
Json = Mapping[str, Any]
Stamp = tuple[tuple[int, int] | None, ...]
"""Time of change and size of each file, by which news is found; None for one that is not there."""


@dataclass(frozen=True)
class JobFiles:
    """Options and results of a job. What is not there yet, or is damaged, is empty."""

    kind: str
    folder: Path
    """The run's own."""
    options: Json = field(default_factory=dict)
    recorded: Json = field(default_factory=dict)
    """Its provenance: of a push, the files and the commit."""
    scores: Json = field(default_factory=dict)
    """Result of an evaluation."""
    proof: Json = field(default_factory=dict)
    """Report of the parity gate."""
    made: Json = field(default_factory=dict)
    """Mark of an export in the folder that it wrote."""
    made_bytes: int = 0
    """Size of that folder's files."""

    @staticmethod
    def read(run: Run) -> "JobFiles":
        """The files as they are now. Blocks."""
        options = run.job
        out = _out(options)
        made = _read(out / MARK) if out else {}
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) if out and made else 0
        return JobFiles(
            str(options.get("kind")),
            run.folder,
            options,
            run.provenance,
            _read(run.folder / RESULT),
            _read(run.folder / PROOF),
            made,
            size,
        )

    @property
    def model(self) -> str:
        """Name of the model that the job is about, for people."""
        return registry.model_name(str(self.options.get("model", "")))


def stamp(run: Run) -> Stamp:
    """Stamp of the files that `JobFiles` reads."""
    out = _out(run.job)
    files = [run.folder / name for name in (registry.JOB, PROVENANCE, RESULT, PROOF)]
    return tuple(_stamp_of(path) for path in (*files, *([out / MARK] if out else [])))


def _out(options: Json) -> Path | None:
    """The folder that an export writes."""
    out = options.get("out")
    return Path(out) if isinstance(out, str) and out else None


def _stamp_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: Path) -> Json:
    try:
        body = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
