"""General rows that are nobody's task, and a summary of what a model has lost on them by learning one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.evaluation.comparison import Comparison
from engine.evaluation.row_scores import OURS, THEIRS, ScoredRow
from engine.metrics.evaluation.contains import METRIC as METRIC

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig

FOLDER = Path(__file__).parent / "general_rows"
"""Short questions with one right answer, in files by kind; written for ft, under its licence."""
MOST_TOKENS = 48
"""Most tokens of an answer: a sentence, so that a model need not answer with the bare word."""
LONGEST_ROW = 512
"""Tokens that the rows may take, in any tokenizer and template."""
LOST_ROWS = 10
"""Most rows that are named as lost."""


def recipe(config: "TrainConfig") -> "TrainConfig":
    """The recipe for these rows in place of the task's, read as plain conversations whatever the method was."""
    files = sorted(FOLDER.glob("*.jsonl"))
    data = type(config.data)(train=[str(path) for path in files], validation=0.0, on_error="skip")
    length = max(config.model.max_seq_length, LONGEST_ROW)
    changes = {
        "model": config.model.model_copy(update={"max_seq_length": length}),
        "data": data,
        "training": config.training.model_copy(update={"method": "sft"}),
        "evaluation": config.evaluation.model_copy(update={"max_questions": 1000}),
    }
    return config.model_copy(update=changes)


def summary(comparison: Comparison, rows: Sequence[ScoredRow]) -> dict[str, Any]:
    """Scores in all and of each kind, and the rows that only the base, or only the tuned model, gets right."""
    kinds: dict[str, list[ScoredRow]] = {}
    for row in rows:
        if row.where:
            kinds.setdefault(kind_of(row), []).append(row)
    lost = [row for row in rows if (row.gap(METRIC.name) or 0) < 0]
    gained = [row for row in rows if (row.gap(METRIC.name) or 0) > 0]
    return {
        "metrics": {line.metric.name: line.as_json() for line in comparison.lines},
        "kinds": {kind: _of_kind(found) for kind, found in sorted(kinds.items())},
        "lost": len(lost),
        "gained": len(gained),
        "lost_rows": [row.as_json() for row in lost[:LOST_ROWS]],
    }


def kind_of(row: ScoredRow) -> str:
    """Kind of a general row: the name of its file."""
    return Path(row.where.rpartition(":")[0]).stem


def _of_kind(rows: Sequence[ScoredRow]) -> Mapping[str, float | int]:
    """Number of rows, and the share that each model gets right."""
    scores = [found for row in rows if (found := row.scores.get(METRIC.name))]
    return {
        "rows": len(rows),
        **{side: sum(each.get(side, 0.0) for each in scores) / len(rows) for side in (OURS, THEIRS)},
    }
