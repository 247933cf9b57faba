"""Perplexity: e to the validation loss (Jelinek et al., JASA 62, 1977)."""

import math

from engine.metrics.base import Metric, Results, Statistics, ratio
from engine.metrics.evaluation.eval_loss import rows


def perplexity(results: Results) -> float:
    """e^loss; a loss above 700 counts as 700, since e^710 is beyond a double."""
    assert results.loss is not None
    return math.exp(min(results.loss, 700.0))


def total(sums: Statistics) -> float:
    """The same of summed loss and tokens."""
    return math.exp(min(ratio(sums), 700.0))


METRIC = Metric(
    "perplexity", format="decimal", better="lower", needs=frozenset({"loss"}), compute=perplexity, rows=rows,
    total=total,
)  # fmt: skip
