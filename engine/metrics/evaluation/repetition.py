"""Repetition: the share of runs of four words that an answer has had before; a model that loops is near 100 %."""

from engine.metrics.base import Metric, Results, Statistics
from engine.metrics.words import words

ORDER = 4
"""Words of a run (rep-4 of Welleck et al. 2020, arXiv:1908.04319)."""


def rows(results: Results) -> list[Statistics | None]:
    """Repeated runs divided by all of an answer; 0 for an answer that is too short to repeat one."""
    assert results.answers is not None
    found: list[Statistics | None] = []
    for answer in results.answers:
        said = words(answer)
        runs = [said[at : at + ORDER] for at in range(len(said) - ORDER + 1)]
        found.append((1 - len(set(runs)) / len(runs) if runs else 0.0, 1.0))
    return found


METRIC = Metric.of_rows("repetition", rows, "an answer", format="percent", better="lower")
