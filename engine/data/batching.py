"""Examples → the batches of each optimizer step: an order fixed by seed and epoch, padding or packing."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.data.types import UNTRAINED, Batch, Examples

Indexes = npt.NDArray[np.int64]
BLOCK_STEPS = 50
"""Steps whose examples are sorted together: enough to fill buckets, few enough to keep the order random."""


def steps_of_epoch(
    lengths: Indexes, seed: int, epoch: int, effective_batch_size: int, bucketed: bool
) -> list[Indexes]:
    """Which examples each optimizer step learns from; every example once.

    Depends on the lengths, `seed` and `epoch` alone, so a resumed run finds its place again. `bucketed`
    puts examples of similar length into the same step, which saves padding. Where the examples do not
    divide evenly, the last step is the smaller one, of any lengths.
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


def micro_batches(
    examples: Examples, indexes: Sequence[int] | Indexes, rows: int, tokens: int, packing: bool, pad_id: int
) -> list[Batch]:
    """Cut one step's examples into micro-batches, longest examples first.

    Each has at most `rows` examples and `tokens` tokens (padding counted); a longer example goes alone.
    With `packing` the examples of a micro-batch lie end to end in one row, `[1, sum of lengths]`.
    The longest come first, so that too little memory shows at once.
    """
    chosen = np.asarray(indexes, dtype=np.int64)
    lengths = examples.lengths[chosen]
    order = np.argsort(-lengths, kind="stable")
    groups: list[list[int]] = []
    longest = total = 0
    for index, length in zip(chosen[order].tolist(), lengths[order].tolist(), strict=True):
        count = len(groups[-1]) if groups else rows
        area = total + length if packing else longest * (count + 1)
        if count < rows and area <= tokens:
            groups[-1].append(index)
            total += length
        else:
            groups.append([index])
            longest = total = length
    lay = _packed if packing else _padded
    return [lay(examples, group, pad_id) for group in groups]


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
