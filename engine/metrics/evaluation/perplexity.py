"""Perplexity: e to the validation loss (Jelinek et al., JASA 62, 1977)."""

import math

from engine.metrics.base import Metric, Results


def perplexity(results: Results) -> float:
    """e^loss; a loss above 700 counts as 700, since e^710 is beyond a double."""
    assert results.loss is not None
    return math.exp(min(results.loss, 700.0))


METRIC = Metric("perplexity", format="decimal", better="lower", needs=frozenset({"loss"}), compute=perplexity)
