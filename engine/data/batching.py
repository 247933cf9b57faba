"""Examples → the batches of each optimizer step: an order fixed by seed and epoch, padding or packing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.data.types import Batch, Examples, Int32

Indexes = npt.NDArray[np.int64]
BLOCK_STEPS = 50
"""Steps whose examples were sorted together in runs that drew rows of like length for a step."""


def steps_of_epoch(
    lengths: Indexes, seed: int, epoch: int, effective_batch_size: int, bucketed: bool = False
) -> list[Indexes]:
    """Examples that each optimizer step learns from; every example once.

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
    """Limits by which a step's examples are cut into micro-batches."""

    rows: int
    """Most examples in one."""
    tokens: int
    """Most tokens in one, padding counted; a longer example goes alone."""
    packing: bool
    """Lay the examples of one end to end in a row, instead of padding a row for each."""
    cost: int | None = None
    """Tokens of padding that are worth one more micro-batch; None fills each as far as the caps allow."""


def micro_batches(
    examples: Examples, indexes: Sequence[int] | Indexes, cut: Cut, padding: int = 0
) -> list[Batch]:
    """Cut one step's examples into micro-batches, longest examples first, so that too little memory shows immediately.

    Examples of a group stay in one micro-batch: `indexes` name all of its members, side by side.
    """
    chosen = np.asarray(indexes, dtype=np.int64)
    if examples.group is not None:
        return _grouped(examples, examples.group, chosen, cut, padding)
    lengths = examples.lengths[chosen]
    order = np.argsort(-lengths, kind="stable")
    return [
        batch_of(examples, chosen[order[start:end]], cut.packing, padding)
        for start, end in bounds(lengths[order], cut)
    ]


def _grouped(examples: Examples, groups: Int32, chosen: Indexes, cut: Cut, padding: int) -> list[Batch]:
    """The same for groups: packed, each takes what its examples take; padded, its longest example times its size."""
    if not len(chosen):
        return []
    starts = np.flatnonzero(np.diff(groups[chosen], prepend=groups[chosen[0]] - 1))
    members = np.split(chosen, starts[1:])
    most = max(map(len, members))
    of_groups = np.add if cut.packing else np.maximum
    lengths = of_groups.reduceat(examples.lengths[chosen], starts)
    order = np.argsort(-lengths, kind="stable")
    tokens = cut.tokens if cut.packing else max(1, cut.tokens // most)
    caps = replace(cut, rows=max(1, cut.rows // most), tokens=tokens)
    return [
        batch_of(
            examples, np.concatenate([members[place] for place in order[start:end]]), cut.packing, padding
        )
        for start, end in bounds(lengths[order], caps)
    ]


def batch_of(examples: Examples, indexes: Indexes, packed: bool = False, padding: int = 0) -> Batch:
    """These examples as one micro-batch, in this order. A token is trained where the one before it predicts it."""
    lengths = examples.lengths[indexes]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.repeat(examples.offsets[indexes] - offsets[:-1], lengths) + np.arange(offsets[-1])
    tokens = examples.tokens[places].astype(np.int32)
    follows = np.zeros(len(tokens), dtype=bool)
    follows[:-1] = examples.trained[places][1:]
    follows[offsets[1:] - 1] = False  # what follows the last token of a sequence is of another one
    reference = (
        None if examples.reference is None else examples.reference[places[np.flatnonzero(follows) + 1]]
    )
    return Batch(
        tokens=tokens,
        targets=np.where(follows, np.roll(tokens, -1), 0).astype(np.int32),
        weights=follows.astype(np.float32),
        offsets=offsets,
        group=_renumbered(examples.group, indexes),
        sign=np.zeros(len(indexes), dtype=np.int8) if examples.sign is None else examples.sign[indexes],
        examples=indexes,
        reference=reference,
        packed=packed,
        padding=padding,
    )


def batch_of_rows(
    rows: Sequence[Sequence[int] | Int32], packed: bool = False, trained_from: int = 1
) -> Batch:
    """Rows of token ids as one micro-batch; of each, the tokens from `trained_from` on are trained."""
    lengths = [len(row) for row in rows]
    examples = Examples(
        tokens=np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]),
        trained=np.concatenate([np.arange(length) >= trained_from for length in lengths]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
    return batch_of(examples, np.arange(len(rows)), packed)


def _renumbered(groups: Int32 | None, indexes: Indexes) -> Int32:
    """Groups numbered from 0 within a micro-batch."""
    if groups is None:
        return np.arange(len(indexes), dtype=np.int32)
    return np.unique(groups[indexes], return_inverse=True)[1].astype(np.int32)


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
