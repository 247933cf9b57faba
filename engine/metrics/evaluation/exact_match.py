"""Exact match: the share of greedy answers that equal the file's, white space at the ends aside."""

from engine.metrics.base import Metric, Results, Statistics


def rows(results: Results) -> list[Statistics | None]:
    """1 for a right answer, 0 for another; None for a row that expects a call of a tool and no text."""
    assert results.answers is not None
    return [
        (float(answer.strip() == reference.strip()), 1.0) if reference else None
        for answer, reference in zip(results.answers, results.references, strict=True)
    ]


METRIC = Metric.of_rows("exact_match", rows, "an expected answer", format="percent", better="higher")
