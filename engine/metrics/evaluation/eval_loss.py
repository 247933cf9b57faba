"""Validation loss: what training minimises, on rows that are not trained."""

from engine.metrics.base import Metric

METRIC = Metric("eval_loss", "validation loss", format="nats", better="lower")
"""Always reported, so there is nothing to ask for and nothing to compute."""
