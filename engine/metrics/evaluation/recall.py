"""Recall (macro): mean over the classes of right among expected, from generated labels."""

from engine.metrics.labels import label_metric

METRIC = label_metric("recall", "recall", "recall (macro)")
