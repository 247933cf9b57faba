"""Accuracy of the likeliest label: every label is scored as the answer, and nothing is generated."""

from engine.metrics.labels import label_metric

METRIC = label_metric("label_accuracy", "accuracy", "accuracy by likelihood", by_likelihood=True)
