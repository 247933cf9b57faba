"""chrF of all answers together (Popović 2015), by sacrebleu, 0 to 100: n-grams of characters, for any script."""

from functools import cache
from typing import Any

from engine.metrics.base import Metric, Results, Statistics


@cache
def metric() -> Any:
    """sacrebleu's metric as it is by default: characters up to 6-grams, beta 2."""
    from sacrebleu.metrics import CHRF

    return CHRF()


def rows(results: Results) -> list[Statistics | None]:
    """N-grams of the answer, of the reference, and of both, for each order."""
    assert results.answers is not None
    return [
        # sacrebleu has no public way to the counts that its own bootstrap adds up.
        tuple(map(float, metric()._extract_corpus_statistics([answer], [[reference]])[0]))
        if reference.strip()
        else None
        for answer, reference in zip(results.answers, results.references, strict=True)
    ]


def total(sums: Statistics) -> float:
    """chrF of the summed counts."""
    return float(metric()._compute_f_score(sums))


def details(results: Results) -> dict[str, Any]:
    """sacrebleu's signature."""
    metric().corpus_score(["a"], [["a"]])  # the number of references is in the signature
    return {"signature": str(metric().get_signature())}


METRIC = Metric.of_rows(
    "chrf",
    rows,
    "an expected answer",
    total,
    label="chrF",
    format="decimal",
    better="higher",
    details=details,
)
