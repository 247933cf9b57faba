"""Examples → the batches of each optimizer step: an order fixed by seed and epoch, padding or packing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.data.types import UNTRAINED, Batch, Examples

Indexes = npt.NDArray[np.int64]
BLOCK_STEPS = 50
"""Steps whose examples were sorted together in runs that drew rows of like length for a step."""


def steps_of_epoch(
    lengths: Indexes, seed: int, epoch: int, effective_batch_size: int, bucketed: bool = False
) -> list[Indexes]:
    """Which examples each optimizer step learns from; every example once.

    Depends on the number of examples, `seed` and `epoch` alone, so a resumed run finds its place again, and every
    backend and layout learns from the same examples in a step. Where they do not divide evenly, the last step is the
    smaller one. `bucketed` is for runs that began so (`Plan.row_order`): examples of similar length, int64 `[count]`,
    came into the same step.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    whole = len(order) - len(order) % effective_batch_size
    if bucketed:
        block = BLOCK_STEPS * effective_batch_size
        for start in range(0, whole, block):
            part = order[start : min(start + block, whole)]
            part[:] = part[np.argsort(lengths[part], kind="stable")]
    steps = list(order[:whole].reshape(-1, effective_batch_size))
    if bucketed:
        steps = [steps[index] for index in random.permutation(len(steps))]
    return [*steps, order[whole:]] if whole < len(order) else steps


@dataclass(frozen=True)
class Cut:
    """How a step's examples are cut into micro-batches."""

    rows: int
    """Most examples in one."""
    tokens: int
    """Most tokens in one, padding counted; a longer example goes alone."""
    packing: bool
    """Lay the examples of one end to end in a row, instead of padding a row for each."""
    cost: int | None = None
    """Tokens of padding that are worth one more micro-batch; None fills each as far as the caps allow."""


def micro_batches(examples: Examples, indexes: Sequence[int] | Indexes, cut: Cut, pad_id: int) -> list[Batch]:
    """Cut one step's examples into micro-batches, longest examples first, so that too little memory shows at once.

    With packing the examples of a micro-batch lie end to end in one row, `[1, sum of lengths]`.
    """
    chosen = np.asarray(indexes, dtype=np.int64)
    lengths = examples.lengths[chosen]
    order = np.argsort(-lengths, kind="stable")
    lay = _packed if cut.packing else _padded
    return [
        lay(examples, chosen[order[start:end]].tolist(), pad_id) for start, end in bounds(lengths[order], cut)
    ]


def bounds(lengths: Indexes, cut: Cut) -> list[tuple[int, int]]:
    """First example of each micro-batch and the one after its last; `lengths` are in falling order."""
    if not len(lengths):
        return []
    return _filled(lengths, cut) if cut.packing or cut.cost is None else _least_padded(lengths, cut, cut.cost)


def _filled(lengths: Indexes, cut: Cut) -> list[tuple[int, int]]:
    """As many examples in each as the caps allow."""
    found: list[tuple[int, int]] = []
    start = total = 0
    for end, length in enumerate(lengths.tolist()):
        area = total + length if cut.packing else int(lengths[start]) * (end - start + 1)
        if end > start and (end - start == cut.rows or area > cut.tokens):
            found.append((start, end))
            start, total = end, 0
        total += length
    return [*found, (start, len(lengths))]


def _least_padded(lengths: Indexes, cut: Cut, cost: int) -> list[tuple[int, int]]:
    """The cut with the fewest tokens, padding counted, where every micro-batch counts for `cost` tokens more.

    The best cut of the first `end` examples ends with the micro-batch from some `start` on, behind the best cut of
    the first `start`.
    """
    best = np.zeros(len(lengths) + 1, dtype=np.int64)
    begins = np.zeros(len(lengths) + 1, dtype=np.int64)
    for end in range(1, len(lengths) + 1):
        starts = np.arange(max(0, end - cut.rows), end)
        areas = lengths[starts] * (end - starts)
        fits = (areas <= cut.tokens) | (starts == end - 1)
        totals = np.where(fits, best[starts] + areas + cost, np.iinfo(np.int64).max)
        begins[end] = starts[np.argmin(totals)]
        best[end] = totals.min()
    found: list[tuple[int, int]] = []
    end = len(lengths)
    while end:
        found.append((int(begins[end]), end))
        end = int(begins[end])
    return found[::-1]


def _padded(examples: Examples, group: Sequence[int], pad_id: int) -> Batch:
    """One example a row, padded on the right to the longest."""
    batch = _empty(len(group), max(int(examples.lengths[index]) for index in group), pad_id)
    for row, index in enumerate(group):
        _lay(batch, examples, index, row, 0, 1)
    return batch


def _packed(examples: Examples, group: Sequence[int], pad_id: int) -> Batch:
    """All examples in one row, without padding."""
    batch = _empty(1, sum(int(examples.lengths[index]) for index in group), pad_id)
    start = 0
    for segment, index in enumerate(group, start=1):
        start += _lay(batch, examples, index, 0, start, segment)
    return batch


def _empty(rows: int, length: int, pad_id: int) -> Batch:
    shape = (rows, length)
    return Batch(
        input_ids=np.full(shape, pad_id, dtype=np.int32),
        labels=np.full(shape, UNTRAINED, dtype=np.int32),
        position_ids=np.zeros(shape, dtype=np.int32),
        segment_ids=np.zeros(shape, dtype=np.int32),
    )


def _lay(batch: Batch, examples: Examples, index: int, row: int, start: int, segment: int) -> int:
    """Write one example into a row of the batch from `start` on; returns its length."""
    example = examples[index]
    length = len(example.input_ids)
    span = slice(start, start + length)
    batch.input_ids[row, span] = example.input_ids
    batch.labels[row, span] = example.labels
    batch.labels[row, start] = UNTRAINED  # its only predecessor would be another example
    batch.position_ids[row, span] = np.arange(length, dtype=np.int32)
    batch.segment_ids[row, span] = segment
    return length
