"""Intervals and paired tests of scores: seeded, and as wide as theory says."""

import numpy as np
import pytest

from engine.evaluation.intervals import difference, interval
from engine.metrics.base import Results, Statistics, ratio
from engine.metrics.registry import load


def scores(values: list[float]) -> list[Statistics | None]:
    return [(value, 1.0) for value in values]


def test_interval_is_that_of_theory_and_the_same_each_time() -> None:
    """For a share of 60 of 200, the normal approximation has 1.96 standard errors on each side."""
    rows = scores([1.0] * 60 + [0.0] * 140)
    found = interval(rows, ratio, seed=1)
    assert found == interval(rows, ratio, seed=1)
    error = 1.96 * (0.3 * 0.7 / 200) ** 0.5
    assert found == pytest.approx((0.3 - error, 0.3 + error), abs=0.015)


def test_loss_counts_tokens_not_rows() -> None:
    rows: list[Statistics | None] = [(10.0, 10.0), (300.0, 100.0)]
    found = difference(rows, [(20.0, 10.0), (300.0, 100.0)], ratio, seed=0)
    assert found is not None
    assert found.value == pytest.approx(310 / 110 - 320 / 110)


def test_equal_models_do_not_differ() -> None:
    rows = scores([0.0, 1.0, 1.0, 0.0, 1.0])
    found = difference(rows, rows, ratio, seed=0)
    assert found is not None
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_paired_test_agrees_with_the_exact_one() -> None:
    """Six rows, all better by one: of 64 exchanges two are as extreme, so p is 1/32."""
    found = difference(scores([1.0] * 6), scores([0.0] * 6), ratio, seed=0)
    assert found is not None
    assert found.p == pytest.approx(2 / 64, abs=0.015)
    assert (found.low, found.high) == (1, 1)


def test_pairing_sees_what_two_intervals_hide() -> None:
    """Rows of very different difficulty, each a little better: the intervals overlap and the difference is certain."""
    hard = np.linspace(0, 1, 40).tolist()
    ours, theirs = scores([value + 0.01 for value in hard]), scores(hard)
    a, b = interval(ours, ratio, 0), interval(theirs, ratio, 0)
    assert a is not None
    assert b is not None
    assert a[0] < b[1]
    found = difference(ours, theirs, ratio, 0)
    assert found is not None
    assert found.low > 0
    assert found.p < 0.001


def test_rows_that_only_one_model_has_are_left_out() -> None:
    found = difference([(1.0, 1.0), None, (1.0, 1.0)], [(0.0, 1.0), (1.0, 1.0), (0.0, 1.0)], ratio, 0)
    assert found is not None
    assert (found.rows, found.value) == (2, 1.0)
    assert interval([(1.0, 1.0), None], ratio, 0) is None


def test_corpus_scores_have_intervals_too() -> None:
    """BLEU and macro F1 are no means of rows; a draw without one of the classes is a draw."""
    references = ["the cat sat on the mat today"] * 10 + ["a dog ran in the park at night"] * 3
    answers = ["the cat sat on a mat today"] * 10 + ["a dog sat in the park"] * 3
    for name in ("bleu", "chrf", "f1"):
        metric = load(name)
        assert metric.rows is not None
        assert metric.compute is not None
        results = Results(answers=answers, references=references)
        value, found = metric.compute(results), interval(metric.rows(results), metric.total, 0)
        assert found is not None
        assert found[0] <= value <= found[1]
