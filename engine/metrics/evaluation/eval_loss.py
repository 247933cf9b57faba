"""Validation loss: what training minimises, on rows that are not trained."""

from engine.metrics.base import Metric, Results, Statistics


def rows(results: Results) -> list[Statistics | None]:
    """Summed loss and tokens of each row: the loss is a mean over tokens, so a long row counts for more."""
    return [(loss, float(tokens)) if tokens else None for loss, tokens in results.losses or ()]


METRIC = Metric("eval_loss", "validation loss", format="nats", better="lower", rows=rows)
"""Always reported, so there is nothing to ask for and nothing to compute."""
