"""Jobs that were done with a trained run, its evaluations and exports, as their own folders record them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from engine.runs.directory.run import Run
from engine.storage.regular_files import open_binary, read_text

EVALUATION, ROWS, PROOF = "evaluation.json", "rows.jsonl", "proof.json"
"""Files in the folders of these jobs: the scores, the rows with their answers, and the report of the parity gate."""
OURS, BASE = "model", "base"
"""Names in them: of the scored model's answers, and of the untrained model that it is compared with."""
MOST_ROWS = 1000
"""Rows of an evaluation that are looked through for answers."""


@dataclass(frozen=True)
class Answer:
    """An answer to a prompt; `asked` is the prompt's last turn, by which a person knows it."""

    asked: str
    text: str


@dataclass(frozen=True)
class Evaluated:
    """Scores that `ft evaluate` gave the weights of a step. `rows` is the source of rows, None for the run's own."""

    run: Run
    step: int
    rows: str | None
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Confidence intervals, 95 %, of the scores that have one."""
    of_base: Mapping[str, float] = field(default_factory=dict)
    """The untrained model's scores on the same rows."""
    fingerprint: str | None = None
    """Of the rows' tokens."""

    def answers(self) -> "dict[str, Answer]":
        """The model's answers to the first prompts, by prompt; empty where none were written down."""
        found: dict[str, Answer] = {}
        try:
            with open_binary(self.run.folder / ROWS) as file:
                for line in islice(file, MOST_ROWS):
                    row = json.loads(line)
                    if isinstance(text := row["answers"].get(OURS), str):
                        prompt = str(row["prompt"])
                        found[prompt] = Answer(str(row.get("asked") or prompt), text)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # an evaluation without answers, or a damaged file: what was read is shown
        return found


@dataclass(frozen=True)
class Exported:
    """Files that `ft export` made of a run. `proof` is the parity gate's report; None where nothing was proved."""

    exporter: str
    out: Path
    options: Mapping[str, Any]
    proof: Mapping[str, Any] | None


def evaluations_of(run: Run) -> list[Evaluated]:
    """The evaluations of a run's weights that are complete, oldest first. What is damaged is absent."""
    return [found for job in jobs_of(run, "evaluate") if (found := _evaluated(job)) is not None]


def exports_of(run: Run) -> list[Exported]:
    """The exports of a run's weights that were kept and are still there, oldest first."""
    found = []
    for job in jobs_of(run, "export"):
        out = Path(str(job.job.get("out")))
        if out.is_dir() and job.state().status == "completed":
            options = _mapping(job.job.get("options"))
            proof = _read(job.folder / PROOF)
            found.append(Exported(str(job.job.get("exporter")), out, options, proof or None))
    return found


def jobs_of(run: Run, kind: str) -> Iterator[Run]:
    """The jobs of a kind that name the run, oldest first."""
    folder = run.folder.resolve()
    for job in reversed(Run.all()):
        if job.kind == kind and _means(str(job.job.get("model", "")), run.id, folder):
            yield job


def _means(reference: str, run_id: str, folder: Path) -> bool:
    """Return True if a job's model is a run's: by its id or the start of one, or by a path to it or into it."""
    if "/" not in reference:
        return bool(reference) and run_id.startswith(reference)
    try:
        return Path(reference).resolve().is_relative_to(folder)
    except (OSError, ValueError):
        return False


def _evaluated(job: Run) -> Evaluated | None:
    events = job.evaluations()
    if not events or job.state().status != "completed":
        return None
    body, rows = _read(job.folder / EVALUATION), job.job.get("data")
    lines = {name: _mapping(line) for name, line in _mapping(body.get("metrics")).items()}
    intervals = {name: pair for name, line in lines.items() if (pair := _pair(line.get("interval")))}
    against = (
        {name: line.get("against") for name, line in lines.items()} if body.get("against") == BASE else {}
    )
    fingerprint = body.get("fingerprint")
    return Evaluated(
        job,
        events[-1].step,
        rows if isinstance(rows, str) else None,
        events[-1].scores,
        intervals,
        {name: value for name, value in against.items() if isinstance(value, int | float)},
        fingerprint if isinstance(fingerprint, str) else None,
    )


def _pair(value: Any) -> tuple[float, float] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(one, int | float) for one in value):
        return float(value[0]), float(value[1])
    return None


def _read(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none."""
    try:
        return _mapping(json.loads(read_text(path)))
    except (OSError, ValueError, RecursionError):
        return {}


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
