"""The sampler: tokens that may be drawn, held against transformers' own processors, and draws that a seed fixes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.backends.sampling import Noise, RowSampler, Sampler, penalised, support
from engine.data.types import Float32, Sampling
from engine.errors import ModelError

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.floats(0.05, 4),
    seed=st.integers(0, 2**32),
    top_p=st.floats(0, 1) | st.just(1.0),
    top_k=st.integers(0, 60),
    min_p=st.floats(0, 1) | st.just(0.0),
    repetition_penalty=st.floats(0.5, 3),
)


@st.composite
def logits_of_a_model(draw: st.DrawFn) -> Float32:
    """Logits without ties, `[vocabulary]`, flat or steep."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.01, 1, 4, 12]))
    return (random.standard_normal(draw(st.integers(1, 400) | st.just(5000))) * spread).astype(np.float32)


def theirs(logits: Float32, sampling: Sampling, seen: list[int]) -> Float32:
    """Probabilities `[vocabulary]` that transformers samples with."""
    steps = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    steps.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        steps.append(MinPLogitsWarper(sampling.min_p))
    return steps(torch.tensor([seen]), torch.from_numpy(logits)[None].clone())[0].softmax(-1).numpy()


@given(logits_of_a_model(), SAMPLINGS, st.data())
@settings(max_examples=300, deadline=None)
def test_tokens_that_may_be_drawn_are_those_of_transformers(
    logits: Float32, sampling: Sampling, data: st.DataObject
) -> None:
    seen = data.draw(st.lists(st.integers(0, len(logits) - 1), min_size=1, max_size=20))
    scores = penalised(logits, seen, sampling.repetition_penalty) / np.float32(sampling.temperature)
    expected = theirs(logits, sampling, seen)
    kept = support(scores, sampling)
    mine = np.zeros_like(expected)
    weights = np.exp(scores[kept] - scores.max())
    mine[kept] = weights / weights.sum()
    # Where a sum of rounded probabilities falls on the limit itself, either side is right.
    different = np.flatnonzero((mine > 0) != (expected > 0))
    assert len(different) <= 1 or sampling.top_p < 1e-6
    assert np.allclose(mine, expected, atol=2e-3 if len(different) else 2e-6)


@given(logits_of_a_model(), SAMPLINGS)
@settings(max_examples=200, deadline=None)
def test_drawn_token_is_within_every_limit(logits: Float32, sampling: Sampling) -> None:
    sampling = replace(sampling, repetition_penalty=1.0)
    token = RowSampler(sampling).choose(logits)
    scores = (logits / np.float32(sampling.temperature)).astype(np.float64)
    share = np.exp(scores - scores.max())
    rank = int((logits > logits[token]).sum())
    if sampling.top_k:
        assert rank < sampling.top_k
        share[np.argsort(-logits)[sampling.top_k :]] = 0
    share /= share.sum()
    assert share[logits > logits[token]].sum() <= sampling.top_p + 1e-6
    assert share[token] >= share.max() * sampling.min_p * (1 - 1e-4)


@given(logits_of_a_model(), st.floats(0, 0.999), st.sampled_from([0.0, 0.05]))
def test_top_p_is_smallest_set_with_that_share(logits: Float32, top_p: float, min_p: float) -> None:
    kept = support(logits, Sampling(temperature=1.0, top_p=top_p, min_p=min_p))
    share = np.exp(logits.astype(np.float64) - logits.max())
    share /= share.sum()
    assert kept.tolist() == sorted(np.argsort(-share, kind="stable")[: len(kept)])
    assert share[kept].sum() - share[kept].min() <= top_p + 1e-9
    cut_by_min_p = share.max() * min_p > np.delete(share, kept).max(initial=0)
    assert cut_by_min_p or share[kept].sum() >= top_p - 1e-9


def test_tokens_as_likely_as_the_last_of_top_k_are_drawn_too() -> None:
    tied = np.array([1, 3, 2, 2, 2, 0], dtype=np.float32)
    assert support(tied, Sampling(temperature=1.0, top_k=2, min_p=0)).tolist() == [1, 2, 3, 4]


def test_of_tokens_as_likely_top_p_takes_the_lower_id() -> None:
    tied = np.zeros(8, dtype=np.float32)
    assert support(tied, Sampling(temperature=1.0, top_p=0.5)).tolist() == [0, 1, 2, 3]
    assert support(tied, Sampling(temperature=1.0, top_p=0.0)).tolist() == [0]


def test_tokens_are_drawn_by_their_probability() -> None:
    likely = np.log(np.array([0.5, 0.3, 0.18, 0.02], dtype=np.float32))
    for sampling, shares in (
        (Sampling(temperature=1.0), [0.5 / 0.98, 0.3 / 0.98, 0.18 / 0.98, 0]),
        (Sampling(temperature=1.0, min_p=0), [0.5, 0.3, 0.18, 0.02]),
        (Sampling(temperature=1.0, top_k=2), [0.625, 0.375, 0, 0]),
        (Sampling(temperature=1.0, top_p=0.7, min_p=0), [0.625, 0.375, 0, 0]),
        (
            Sampling(temperature=0.5, min_p=0),
            [0.25 / 0.3728, 0.09 / 0.3728, 0.0324 / 0.3728, 0.0004 / 0.3728],
        ),
    ):
        counts = Counter(RowSampler(replace(sampling, seed=seed)).choose(likely) for seed in range(4000))
        assert [counts[token] / 4000 for token in range(4)] == pytest.approx(shares, abs=0.03)


def test_seed_gives_the_tokens_that_it_always_gave() -> None:
    """Recorded with the sampler that knew temperature alone, and computed on torch's arrays."""
    logits = (np.random.default_rng(7).standard_normal(1000) * 3).astype(np.float32)
    for seed, recorded in RECORDED.items():
        row = RowSampler(Sampling(temperature=1.5, seed=seed))
        assert [row.choose(logits) for _ in range(8)] == recorded


RECORDED = {
    0: [699, 768, 791, 49, 699, 861, 772, 79],
    1: [339, 861, 103, 329, 664, 902, 911, 815],
    12345: [695, 484, 664, 861, 861, 361, 911, 877],
}


def test_seen_tokens_are_those_of_prompt_and_answer() -> None:
    row = RowSampler(Sampling(repetition_penalty=2.0), prompt=[3])
    logits = np.array([1.0, 1.5, -1.0, 2.9], dtype=np.float32)
    assert [row.choose(logits) for _ in range(4)] == [
        1,
        3,
        3,
        3,
    ]  # 2.9 / 2 is less than 1.5, and more than 1.5 / 2
    assert logits.tolist() == pytest.approx([1.0, 1.5, -1.0, 2.9])


@pytest.mark.parametrize(
    ("sampling", "greedy"),
    [
        (Sampling(), True),
        (Sampling(top_p=0.5, top_k=4, seed=9), True),
        (Sampling(temperature=0.1), False),
        (Sampling(repetition_penalty=1.1), False),
    ],
)
def test_logits_stay_on_the_device_for_plain_greedy_rows(sampling: Sampling, greedy: bool) -> None:
    row = RowSampler(sampling, [1, 2])
    assert row.greedy == greedy
    assert (Sampler.seeded(sampling, [0, 1]) is None) == greedy
    if greedy:
        assert row.choose(np.array([0, 2, 1, 2], dtype=np.float32)) == 1


def test_answer_is_the_same_whichever_rows_are_beside_it() -> None:
    logits = (np.random.default_rng(1).standard_normal((6, 50)) * 3).astype(np.float32)
    settings = [Sampling(temperature=0.5 + n, seed=n, top_k=n * 3, top_p=1 - n / 10) for n in range(6)]
    together = Sampler(tuple(settings)).samplers([[n] for n in range(6)])
    alone = [RowSampler(one, [n]) for n, one in enumerate(settings)]
    for _ in range(5):
        side_by_side = [row.choose(own) for row, own in zip(together, logits, strict=True)]
        assert [row.choose(own) for row, own in zip(alone, logits, strict=True)] == side_by_side


def test_noise_of_a_token_does_not_depend_on_those_left_out() -> None:
    kept = np.array([3, 70, 99])
    assert Noise(5).draw(100)[kept].tolist() == Noise(5).draw(100, kept).tolist()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_model_that_answers_nan_is_an_error(broken: float) -> None:
    row = RowSampler(Sampling(temperature=1.0))
    with pytest.raises(ModelError, match="not a number"):
        row.choose(np.array([1.0, broken], dtype=np.float32))


def test_masked_token_is_never_drawn() -> None:
    """A grammar gives what it refuses -inf."""
    logits = np.full(100, -np.inf, dtype=np.float32)
    logits[[4, 9]] = [-1, -2]
    for sampling in (
        Sampling(temperature=3.0, min_p=0, seed=2),
        Sampling(temperature=3.0, min_p=0, top_k=50, top_p=0.99),
    ):
        row = RowSampler(sampling)
        assert {row.choose(logits) for _ in range(50)} == {4, 9}


def test_very_low_temperature_takes_the_likeliest() -> None:
    logits = np.array([1e30, 3e38], dtype=np.float32)
    assert RowSampler(Sampling(temperature=1e-30)).choose(logits) == 1
