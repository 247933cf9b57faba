"""BLEU of all answers together (Papineni et al. 2002), by sacrebleu, 0 to 100."""

from typing import Any

from engine.metrics.base import Metric, Results, Statistics
from engine.metrics.words import unspaced_share, words

ORDER = 4


def metric_for(results: Results) -> Any:
    """sacrebleu's metric: characters are its words where the expected answers are of a script without spaces.

    Where no expected answer has four words, BLEU of order 4 is 0 whatever the answers: shorter orders count then.
    """
    from sacrebleu.metrics import BLEU

    short = all(len(words(reference)) < ORDER for reference in results.references)
    by_character = unspaced_share(results.references) > 1 / 2
    return BLEU(tokenize="char" if by_character else "13a", effective_order=short, force=True)


def rows(results: Results) -> list[Statistics | None]:
    """Lengths of answer and reference, matches and n-grams of each order, and 1 where shorter orders count."""
    assert results.answers is not None
    metric = metric_for(results)
    found: list[Statistics | None] = []
    for answer, reference in zip(results.answers, results.references, strict=True):
        if not reference.strip():
            found.append(None)
            continue
        score = metric.corpus_score([answer], [[reference]])
        lengths = (float(score.sys_len), float(score.ref_len))
        found.append((*lengths, *score.counts, *score.totals, float(metric.effective_order)))
    return found


def total(sums: Statistics) -> float:
    """BLEU of the summed counts, smoothed as sacrebleu does where an order has no match ("exp")."""
    from sacrebleu.metrics import BLEU

    counts, totals = (
        [int(value) for value in sums[2 : 2 + ORDER]],
        [int(value) for value in sums[2 + ORDER : -1]],
    )
    score = BLEU.compute_bleu(
        counts, totals, int(sums[0]), int(sums[1]), smooth_method="exp", effective_order=sums[-1] > 0
    )
    return float(score.score)


def details(results: Results) -> dict[str, Any]:
    """sacrebleu's signature, without which a figure cannot be compared with another."""
    metric = metric_for(results)
    metric.corpus_score(["a"], [["a"]])  # the number of references is in the signature
    return {"signature": str(metric.get_signature())}


METRIC = Metric.of_rows(
    "bleu",
    rows,
    "an expected answer",
    total,
    label="BLEU",
    format="decimal",
    better="higher",
    details=details,
)
