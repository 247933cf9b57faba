"""Valid JSON: the share of answers that are nothing but JSON, where an object or a list is expected."""

from engine.metrics.base import Metric, Results, Statistics
from engine.metrics.json_answers import NOTHING, parsed, structured


def rows(results: Results) -> list[Statistics | None]:
    """1 for an answer that parses, 0 for another."""
    assert results.answers is not None
    return [
        (float(parsed(answer) is not NOTHING), 1.0) if structured(reference) is not NOTHING else None
        for answer, reference in zip(results.answers, results.references, strict=True)
    ]


METRIC = Metric.of_rows(
    "json_valid",
    rows,
    "a JSON object or list as its answer",
    label="valid JSON",
    format="percent",
    better="higher",
)
