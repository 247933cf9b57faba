"""Labels: answers from a small closed set, and the counts from which accuracy, precision, recall and F1 follow."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.metrics.base import Lacking, Metric, Need, Results, Statistics

MOST_LABELS = 40
"""Answers of more kinds than this are not labels."""
LONGEST_LABEL = 80
"""Characters of the longest answer that may be a label."""
CLOSED = "answers from a small closed set"


def label_of(text: str) -> str:
    """An answer as a label: without case, surrounding white space and punctuation."""
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    while text and unicodedata.category(text[-1])[0] in "PZC":
        text = text[:-1]
    while text and unicodedata.category(text[0])[0] in "PZC":
        text = text[1:]
    return text


def closed_set(references: Sequence[str]) -> tuple[str, ...]:
    """The labels of expected answers, in order; empty where the answers are no labels.

    Answers are labels where there are at least two kinds of them, each short, and on average three rows of a kind.
    """
    kinds = sorted({label_of(reference) for reference in references} - {""})
    if not 2 <= len(kinds) <= MOST_LABELS or len(kinds) * 3 > len(references):
        return ()
    return tuple(kinds) if max(map(len, kinds)) <= LONGEST_LABEL else ()


def guesses(results: Results) -> list[str]:
    """The label that each generated answer is; what is none of the closed set stays what it is, and is wrong."""
    assert results.answers is not None
    return list(map(label_of, results.answers))


def likeliest(results: Results) -> list[str]:
    """The label that scores highest at each prompt."""
    assert results.label_scores is not None
    return [
        results.labels[max(range(len(scores)), key=scores.__getitem__)] for scores in results.label_scores
    ]


Guess = Callable[[Results], list[str]]


def _known(results: Results) -> tuple[str, ...]:
    labels = tuple(results.labels) or closed_set(results.references)
    if not labels:
        raise Lacking(f"the rows do not have {CLOSED}")
    return labels


def _counts(results: Results, guess: Guess) -> list[Statistics | None]:
    """Of each row, for each label: guessed rightly, guessed, expected; each 0 or 1."""
    labels = _known(results)
    found: list[Statistics | None] = []
    for guessed, reference in zip(guess(results), results.references, strict=True):
        expected = label_of(reference)
        if expected not in labels:
            found.append(None)
            continue
        found.append(
            tuple(
                float(value)
                for label in labels
                for value in (guessed == label == expected, guessed == label, expected == label)
            )
        )
    return found


def _classes(sums: Statistics) -> list[tuple[float, float, float, float]]:
    """Precision, recall, F1 and expected rows of each label; nothing guessed or expected counts as 0 of it."""
    found = []
    for at in range(0, len(sums), 3):
        right, guessed, expected = sums[at : at + 3]
        precision, recall = right / guessed if guessed else 0.0, right / expected if expected else 0.0
        found.append(
            (precision, recall, 2 * right / (guessed + expected) if guessed + expected else 0.0, expected)
        )
    return found


def _accuracy(sums: Statistics) -> float:
    return sum(sums[0::3]) / sum(sums[2::3])


def _macro(column: int) -> Callable[[Statistics], float]:
    """The mean over the labels that are expected at all, each counting the same."""

    def total(sums: Statistics) -> float:
        values = [each[column] for each in _classes(sums) if each[3]]
        return sum(values) / len(values)

    return total


TOTALS: Mapping[str, Callable[[Statistics], float]] = {
    "accuracy": _accuracy,
    "precision": _macro(0),
    "recall": _macro(1),
    "f1": _macro(2),
}


def _details(results: Results, guess: Guess) -> dict[str, Any]:
    """Scores of each class, the answers that are no label, and the baseline of one constant answer."""
    labels, rows = _known(results), [row for row in _counts(results, guess) if row is not None]
    sums = tuple(map(sum, zip(*rows, strict=True)))
    classes = {
        label: {"precision": precision, "recall": recall, "f1": f1, "rows": round(expected)}
        for label, (precision, recall, f1, expected) in zip(labels, _classes(sums), strict=True)
    }
    return {
        "classes": classes,
        "answers that are no label": round(len(rows) - sum(sums[1::3])),
        "accuracy of the commonest label": max(sums[2::3]) / len(rows),
    }


def label_metric(name: str, kind: str, label: str, by_likelihood: bool = False) -> Metric:
    """Accuracy, or macro precision, recall or F1 (`kind`), of generated labels or of the likeliest ones."""
    guess: Guess = likeliest if by_likelihood else guesses
    need: Need = "label_scores" if by_likelihood else "answers"

    def details(results: Results) -> dict[str, Any]:
        found = _details(results, guess)
        return found | (_normalised(results) if by_likelihood else {})

    return Metric.of_rows(
        name, lambda results: _counts(results, guess), CLOSED, TOTALS[kind], frozenset({need}),
        label=label, format="percent", better="higher", details=details,
    )  # fmt: skip


def _normalised(results: Results) -> dict[str, Any]:
    """Accuracy where each label's log-probability is divided by its tokens, beside the one that is reported."""
    assert results.label_scores is not None
    right = total = 0
    for scores, reference in zip(results.label_scores, results.references, strict=True):
        means = [score / tokens for score, tokens in zip(scores, results.label_tokens, strict=True)]
        if label_of(reference) in results.labels:
            total += 1
            right += results.labels[max(range(len(means)), key=means.__getitem__)] == label_of(reference)
    return {
        "scored by": "log-probability of the label, summed over its tokens, not length-normalised",
        "accuracy, length-normalised": right / total,
    }
