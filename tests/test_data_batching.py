"""Every example is learned from once an epoch, in an order that seed and epoch fix, within the caps."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.layout import rows_of
from engine.data.batching import Cut, batch_of, bounds, micro_batches, steps_of_epoch
from engine.data.types import UNTRAINED, Batch, Examples

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=60)
PAD = 99_999


def examples(lengths: list[int]) -> Examples:
    """Token ids that tell each example and position apart; all but each first quarter is trained."""
    tokens = [1000 * number + position for number, length in enumerate(lengths) for position in range(length)]
    trained = [position >= length // 4 for length in lengths for position in range(length)]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Examples(np.array(tokens, dtype=np.int32), np.array(trained), offsets)


def order(lengths: list[int], seed: int, epoch: int, size: int = 4, bucketed: bool = True) -> list[list[int]]:
    return [step.tolist() for step in steps_of_epoch(np.array(lengths), seed, epoch, size, bucketed)]


@given(LENGTHS, st.integers(0, 2**31 - 1), st.integers(0, 50), st.integers(1, 9), st.booleans())
def test_epoch_trains_every_example_once(
    lengths: list[int], seed: int, epoch: int, size: int, bucketed: bool
) -> None:
    steps = order(lengths, seed, epoch, size, bucketed)
    assert sorted(index for step in steps for index in step) == list(range(len(lengths)))
    assert all(len(step) == size for step in steps[:-1])
    assert 0 < len(steps[-1]) <= size


@given(LENGTHS, st.integers(0, 1000), st.integers(0, 9), st.booleans())
def test_example_order_depends_on_seed_and_epoch(
    lengths: list[int], seed: int, epoch: int, bucketed: bool
) -> None:
    first = order(lengths, seed, epoch, bucketed=bucketed)
    np.random.default_rng().random()
    np.random.seed(seed + 1)
    assert order(lengths, seed, epoch, bucketed=bucketed) == first


@pytest.mark.parametrize("bucketed", [True, False])
def test_epochs_and_seeds_order_examples_differently(bucketed: bool) -> None:
    lengths = [5 + i % 30 for i in range(200)]
    orders = [str(order(lengths, seed, epoch, bucketed=bucketed)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9


def test_buckets_group_examples_of_like_length() -> None:
    """The steps stay in random order."""
    lengths = np.random.default_rng(0).integers(5, 500, size=1000)

    def padding(bucketed: bool) -> int:
        steps = steps_of_epoch(lengths, 7, 0, 8, bucketed)
        return sum(int(lengths[step].max() * len(step) - lengths[step].sum()) for step in steps)

    assert padding(True) < padding(False) / 5
    longest = [int(lengths[step].max()) for step in steps_of_epoch(lengths, 7, 0, 8, True)]
    assert longest != sorted(longest)
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3


@given(LENGTHS, st.data(), st.integers(0, 1000))
def test_rows_of_step_ignore_their_lengths(lengths: list[int], data: st.DataObject, seed: int) -> None:
    others = data.draw(st.lists(st.integers(2, 40), min_size=len(lengths), max_size=len(lengths)))
    assert order(lengths, seed, 1, bucketed=False) == order(others, seed, 1, bucketed=False)


@given(LENGTHS, st.integers(1, 8), st.integers(2, 90), st.integers(0, 100))
def test_micro_batches_hold_fewest_padded_tokens(
    lengths: list[int], rows: int, tokens: int, cost: int
) -> None:
    """The fewest that the caps allow."""
    falling = np.array(sorted(lengths, reverse=True))

    def worth(cut: list[tuple[int, int]]) -> int:
        return sum(int(falling[start]) * (end - start) + cost for start, end in cut)

    found = bounds(falling, Cut(rows, tokens, packing=False, cost=cost))
    assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])]
    assert found[-1][1] == len(lengths)
    assert worth(found) <= worth(bounds(falling, Cut(rows, tokens, packing=False)))
    alone = [(place, place + 1) for place in range(len(lengths))]
    assert worth(found) <= worth(alone)


def test_mixed_lengths_split_into_micro_batches() -> None:
    """A batch is split where padding would cost more than another micro-batch."""
    lengths = np.array([500, 490, 480, 60, 50, 40])
    assert bounds(lengths, Cut(6, 10_000, packing=False, cost=128)) == [(0, 3), (3, 6)]
    assert bounds(lengths, Cut(6, 10_000, packing=False, cost=5_000)) == [(0, 6)]
    assert bounds(lengths, Cut(6, 10_000, packing=True, cost=128)) == [(0, 6)]


@given(LENGTHS, st.integers(1, 8), st.integers(2, 90), st.booleans(), st.none() | st.integers(0, 100))
def test_micro_batches_keep_examples_and_caps(
    lengths: list[int], rows: int, tokens: int, packing: bool, cost: int | None
) -> None:
    """No token of an example is lost."""
    given_examples = examples(lengths)
    batches = micro_batches(given_examples, range(len(lengths)), Cut(rows, tokens, packing, cost), PAD)
    found = []
    for batch in batches:
        assert batch.sequences <= rows
        assert rows_of(batch).ids.size <= tokens or batch.sequences == 1
        assert not packing or len(rows_of(batch).ids) == 1
        found += sequences(batch)
    assert sorted(int(ids[0]) // 1000 for ids, _, _ in found) == list(range(len(lengths)))
    for ids, targets, weights in found:
        example = given_examples[int(ids[0]) // 1000]
        assert ids.tolist() == example.input_ids.tolist()
        trained = example.labels[1:] != UNTRAINED
        assert weights.tolist() == [*trained, 0]
        assert targets.tolist() == [*np.where(trained, ids[1:], 0), 0]
    assert sum(len(batch.tokens) for batch in batches) == sum(lengths)
    whole = sum(int((example.labels[1:] != UNTRAINED).sum()) for example in given_examples)
    assert sum(batch.trained_tokens for batch in batches) == whole


def sequences(batch: Batch) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ids, targets and weights of every sequence of a batch."""
    spans = [slice(*pair) for pair in itertools.pairwise(batch.offsets)]
    return [(batch.tokens[span], batch.targets[span], batch.weights[span]) for span in spans]


@given(LENGTHS, st.booleans())
def test_rows_hold_every_token_once(lengths: list[int], packed: bool) -> None:
    """Everything else is padding."""
    batch = replace(batch_of(examples(lengths), np.arange(len(lengths)), packed), padding=PAD)
    rows = rows_of(batch)
    assert rows.ids.reshape(-1)[rows.places].tolist() == batch.tokens.tolist()
    assert (np.delete(rows.ids.reshape(-1), rows.places) == PAD).all()
    if rows.lengths is None:
        assert len(rows.ids) == len(lengths)
    else:
        assert rows.lengths == lengths
        positions = rows.positions()
        assert positions is not None
        assert positions[0].tolist() == [place for length in lengths for place in range(length)]


@given(
    st.lists(st.tuples(st.integers(2, 20), st.integers(2, 20)), min_size=1, max_size=20), st.integers(1, 9)
)
def test_pairs_stay_in_one_micro_batch(pairs: list[tuple[int, int]], rows: int) -> None:
    whole = examples([length for pair in pairs for length in pair])
    groups = np.repeat(np.arange(len(pairs), dtype=np.int32), 2)
    signs = np.tile(np.array([1, -1], dtype=np.int8), len(pairs))
    paired = replace(whole, group=groups, sign=signs)
    batches = micro_batches(paired, range(len(paired)), Cut(rows, 100, packing=False))
    for batch in batches:
        assert np.bincount(batch.group).tolist() == [2] * (batch.sequences // 2)
        assert batch.sign.tolist() == [1, -1] * (batch.sequences // 2)
        assert batch.sequences <= max(2, rows)
    assert sum(batch.sequences for batch in batches) == len(paired)


def test_longest_examples_come_first() -> None:
    batches = micro_batches(examples([3, 9, 5, 7]), [0, 1, 2, 3], Cut(2, 100, packing=False), PAD)
    assert [batch.lengths.tolist() for batch in batches] == [[9, 7], [5, 3]]


def test_overlong_example_gets_own_micro_batch() -> None:
    batches = micro_batches(examples([50, 4, 4]), [0, 1, 2], Cut(8, 10, packing=False), PAD)
    assert [batch.lengths.tolist() for batch in batches] == [[50], [4, 4]]


def test_packed_rows_have_no_padding() -> None:
    (batch,) = micro_batches(examples([3, 5]), [0, 1], Cut(8, 100, packing=True), PAD)
    rows = rows_of(batch)
    assert rows.ids.shape == (1, 8)
    assert rows.lengths == [5, 3]
    assert batch.weights[4] == 0, "the last token of a sequence predicts nothing of the next"


def test_batch_arrays_have_dtypes_of_backends() -> None:
    (batch,) = micro_batches(examples([3, 5]), [0, 1], Cut(8, 100, packing=True), PAD)
    found = [batch.tokens, batch.targets, batch.weights, batch.offsets, batch.group, batch.sign]
    assert [array.dtype.name for array in found] == ["int32", "int32", "float32", "int64", "int32", "int8"]
