"""ROUGE-2: overlap of pairs of words with the expected answer, F1."""

from engine.metrics.rouge import rouge

METRIC = rouge("rouge_2", "rouge2", "ROUGE-2")
