"""Contained: the share of answers in which the expected one stands, word for word, whatever is said around it."""

from engine.metrics.base import Metric, Results, Statistics
from engine.metrics.words import words


def rows(results: Results) -> list[Statistics | None]:
    """1 where the expected words stand in the answer, in a row; case and punctuation do not count."""
    assert results.answers is not None
    return [
        (float(_within(words(reference), words(answer))), 1.0) if words(reference) else None
        for answer, reference in zip(results.answers, results.references, strict=True)
    ]


def _within(expected: tuple[str, ...], said: tuple[str, ...]) -> bool:
    return any(said[at : at + len(expected)] == expected for at in range(len(said) - len(expected) + 1))


METRIC = Metric.of_rows(
    "contains", rows, "words in its answer", label="answer contained", format="percent", better="higher"
)
