"""Length of the answers in characters, and how much longer they are than expected."""

from typing import Any

from engine.metrics.base import Metric, Results, Statistics


def rows(results: Results) -> list[Statistics | None]:
    """Characters of each answer."""
    assert results.answers is not None
    return [(float(len(answer)), 1.0) for answer in results.answers]


def details(results: Results) -> dict[str, Any]:
    """The mean length of the expected answers, and the answers that are empty."""
    assert results.answers is not None
    expected = [len(reference) for reference in results.references if reference]
    return {
        "characters expected": sum(expected) / len(expected) if expected else None,
        "empty answers": sum(not answer.strip() for answer in results.answers),
    }


METRIC = Metric.of_rows(
    "answer_length",
    rows,
    "an answer",
    label="answer length",
    format="number",
    unit="characters",
    details=details,
)
