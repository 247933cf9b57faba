"""ROUGE (Lin 2004) by rouge-score, over words of every script: its own tokenizer knows a-z and 0-9 alone."""

from typing import Any

from engine.metrics.base import Metric, Results, Statistics
from engine.metrics.words import words


class _Words:
    """Tokenizer as rouge-score takes it."""

    def tokenize(self, text: str) -> list[str]:
        return list(words(text))


def rouge(name: str, kind: str, label: str) -> Metric:
    """The mean F1 of one kind of ROUGE, as rouge-score names it (`rouge1`, `rougeL`)."""

    def rows(results: Results) -> list[Statistics | None]:
        from rouge_score.rouge_scorer import RougeScorer

        assert results.answers is not None
        scorer = RougeScorer([kind], tokenizer=_Words())
        return [
            (scorer.score(reference, answer)[kind].fmeasure, 1.0) if words(reference) else None
            for answer, reference in zip(results.answers, results.references, strict=True)
        ]

    def details(results: Results) -> dict[str, Any]:
        from importlib.metadata import version

        return {
            "signature": f"{kind} F1, words of every script, no stemmer, rouge-score {version('rouge-score')}"
        }

    return Metric.of_rows(
        name, rows, "words in its answer", label=label, format="percent", better="higher", details=details
    )
