"""Field-wise agreement of JSON: the share of fields that are there and equal, of all that either side has."""

from engine.metrics.base import Metric, Results, Statistics
from engine.metrics.json_answers import NOTHING, agreement, parsed, structured


def rows(results: Results) -> list[Statistics | None]:
    """The share of a row's fields that agree; 0 where the answer is not JSON."""
    assert results.answers is not None
    return [
        (agreement(parsed(answer), expected), 1.0) if expected is not NOTHING else None
        for answer, expected in zip(results.answers, map(structured, results.references), strict=True)
    ]


METRIC = Metric.of_rows(
    "json_fields", rows, "a JSON object or list as its answer", label="JSON fields", format="percent",
    better="higher",
)  # fmt: skip
