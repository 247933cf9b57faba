"""Exact match: the share of greedy answers that equal the file's, white space at the ends aside."""

from engine.metrics.base import Metric, Results


def exact_match(results: Results) -> float:
    """Right answers divided by all, 0 to 1."""
    assert results.answers is not None
    right = sum(
        answer.strip() == reference.strip()
        for answer, reference in zip(results.answers, results.references, strict=True)
    )
    return right / len(results.references)


METRIC = Metric(
    "exact_match", format="percent", better="higher", needs=frozenset({"answers"}), compute=exact_match
)
