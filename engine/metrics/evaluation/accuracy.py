"""Accuracy: share of generated labels that are the expected one."""

from engine.metrics.labels import label_metric

METRIC = label_metric("accuracy", "accuracy", "accuracy")
