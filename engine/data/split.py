"""Train/validation split: a share of the rows by the seed, with all copies of a row on one side."""

import numpy as np
import numpy.typing as npt

from engine.config.schema import TrainConfig
from engine.data.readers.table import Keep
from engine.data.selection import Selection, choose

Numbers = npt.NDArray[np.int64]


def drawn(count: int, share: float, seed: int) -> Keep:
    """Draw a share of `count` rows by the seed, bool `[count]`: at least one row and never all of them."""
    return choose(count, _size(count, share) if share else 0, seed)


def validation_mask(rows: Numbers, contents: Numbers, count: int, share: float, seed: int) -> Keep:
    """Choose which of `count` rows validate, bool `[count]`, by the seed and their contents.

    `rows` are row numbers, ascending, and `contents` a hash of what each has, int64, both `[contents]`: a run hashes
    the tokens of examples, `ft data prepare`, which has no tokenizer, the rows themselves. Rows of the same contents
    validate together or not at all, and rows without any are not counted. Without copies and such rows, the mask is
    that of `drawn`. No row validates where all rows are the same.
    """
    there, starts = np.unique(rows, return_index=True)
    if not share or not len(there):
        return np.zeros(count, dtype=np.bool_)
    first, group, sizes = _copies(np.add.reduceat(contents, starts))
    chosen = drawn(count, share, seed)[there[first]]
    # Groups whose first row is drawn go first; the order of the others fills up what is missing.
    order = np.lexsort((np.random.default_rng(seed).permutation(len(first)), ~chosen))
    taken = np.zeros(len(first), dtype=np.bool_)
    left = _size(len(there), share)
    for number in order:
        if sizes[number] <= left:
            taken[number] = True
            left -= sizes[number]
        if not left:
            break
    if not taken.any() and len(first) > 1:
        taken[np.argmin(sizes)] = True
    mask = np.zeros(count, dtype=np.bool_)
    mask[there[taken[group]]] = True
    return mask


def share_of(config: TrainConfig, own: Selection | None) -> float:
    """Share of the training rows that validates; 0 where rows of their `own` do, as the starter's, or none."""
    validation = config.data.validation
    return validation if own is None and isinstance(validation, float | int) else 0.0


def _size(count: int, share: float) -> int:
    return min(max(round(share * count), 1), count - 1)


def _copies(keys: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Groups of equal keys, in the order of their first: its place, the group of each key, and their sizes."""
    _, first, group, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[group], sizes[order]
