"""Precision (macro): mean over the classes of right among guessed, from generated labels."""

from engine.metrics.labels import label_metric

METRIC = label_metric("precision", "precision", "precision (macro)")
