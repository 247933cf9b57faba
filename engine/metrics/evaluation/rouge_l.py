"""ROUGE-L: longest common subsequence of words with the expected answer, F1."""

from engine.metrics.rouge import rouge

METRIC = rouge("rouge_l", "rougeL", "ROUGE-L")
