"""F1 (macro): mean over the classes of the harmonic mean of precision and recall, from generated labels."""

from engine.metrics.labels import label_metric

METRIC = label_metric("f1", "f1", "F1 (macro)")
