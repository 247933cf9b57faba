"""Rows of an evaluation: prompt, expected answer, each model's answer and scores, and those that differ most."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.data.tokenization.tokenizer import Tokenizer
from engine.evaluation.comparison import Comparison, Line
from engine.evaluation.measuring import Rows
from engine.metrics.base import Metric, Results

OURS, THEIRS = "model", "against"
"""Names of the two sides in files."""


@dataclass(frozen=True)
class ScoredRow:
    """One row, with what the models made of it; `scores` by metric: ours, and the other's where there is one."""

    where: str
    prompt: str
    reference: str
    answers: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    calls: Sequence[Any] = ()
    asked: str = ""
    """The last turn of the prompt, to be shown where the whole is too long."""

    def gap(self, metric: str) -> float | None:
        """Our score less the other's; None where the row has not both."""
        found = self.scores.get(metric, {})
        return found[OURS] - found[THEIRS] if len(found) == 2 else None

    def as_json(self) -> dict[str, Any]:
        """The row as a line of `rows.jsonl` has it."""
        return {
            "where": self.where,
            "prompt": self.prompt,
            "asked": self.asked or self.prompt,
            "reference": self.reference,
            **({"calls": list(self.calls)} if self.calls else {}),
            "answers": self.answers,
            "scores": self.scores,
        }


def scored_rows(
    rows: Rows, tokenizer: Tokenizer, comparison: Comparison, ours: Results, theirs: Results | None
) -> list[ScoredRow]:
    """The rows: those with prompts first, each with the loss of its text where the two belong together.

    `rows` and `tokenizer` are those of our model.
    """
    texts = _texts_of(rows)
    found = []
    for at, question in enumerate(rows.questions):
        answers = {
            side: results.answers[at]
            for side, results in ((OURS, ours), (THEIRS, theirs))
            if results is not None and results.answers is not None
        }
        prompt = tokenizer.decode(question.prompt_ids)
        scores = _scores(comparison.lines, at, texts.get(at))
        row = ScoredRow(
            question.where, prompt, question.answer, answers, scores, question.calls, question.asked
        )
        found.append(row)
    for text in sorted(set(range(len(rows.examples))) - set(texts.values())):
        example = rows.examples[text]
        kept = example.labels == example.input_ids
        prompt, answer = (tokenizer.decode(example.input_ids[which].tolist()) for which in (~kept, kept))
        found.append(ScoredRow("", prompt, answer, scores=_scores(comparison.lines, None, text)))
    return found


def as_lines(rows: Iterable[ScoredRow]) -> str:
    """The rows as the text of `rows.jsonl`."""
    return "".join(json.dumps(row.as_json(), ensure_ascii=False) + "\n" for row in rows)


def deciding(lines: Sequence[Line]) -> Metric | None:
    """The metric by which rows are said to differ: the first of answers by which any does, else the loss."""
    compared = [line for line in lines if line.difference is not None and line.metric.better]
    differing = [line for line in compared if line.scores != line.other_scores]
    return next((x.metric for x in [*(x for x in differing if not x.of_tokens), *differing]), None)


def most_different(rows: Sequence[ScoredRow], metric: Metric, count: int) -> list[ScoredRow]:
    """The rows with the largest gaps between the two models, largest first; rows without a gap are left out."""
    gaps = [(abs(gap), at) for at, row in enumerate(rows) if (gap := row.gap(metric.name))]
    return [rows[at] for _, at in sorted(gaps, key=lambda each: (-each[0], each[1]))[:count]]


def _texts_of(rows: Rows) -> dict[int, int]:
    """The text of each prompt, by their numbers: the first that begins with it and belongs to no other."""
    width = np.dtype(np.int32).itemsize
    texts = [example.input_ids.astype(np.int32).tobytes() for example in rows.examples]
    found: dict[int, int] = {}
    free = dict.fromkeys(range(len(texts)))
    for at, question in enumerate(rows.questions):
        start = np.array(question.prompt_ids, dtype=np.int32).tobytes()
        text = next(
            (one for one in free if texts[one].startswith(start) and len(texts[one]) >= len(start) + width),
            None,
        )
        if text is not None:
            found[at] = text
            del free[text]
    return found


def _scores(lines: Sequence[Line], question: int | None, text: int | None) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        at = text if line.of_tokens else question
        sides = {OURS: line.scores, THEIRS: line.other_scores}
        values = {
            side: value
            for side, scores in sides.items()
            if at is not None and at < len(scores) and (value := scores[at]) is not None
        }
        if values:
            found[line.metric.name] = values
    return found
