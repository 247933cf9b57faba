"""ROUGE-1: overlap of words with the expected answer, F1."""

from engine.metrics.rouge import rouge

METRIC = rouge("rouge_1", "rouge1", "ROUGE-1")
