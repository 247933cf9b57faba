"""The rows that a micro-batch becomes: one for each sequence, padded on the right, or all in one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.data.types import Batch, Int32


@dataclass(frozen=True)
class Rows:
    """Token ids int32 `[rows, length]`, and where the tokens of the batch lie in them.

    `places` int64 `[total]` are flat positions. `lengths` are those of the sequences in the one row that they share;
    None where each has a row. `prefixes` say how many of its first tokens a sequence has in common with the one before
    it: they lie in that one's place alone, and are none of its `lengths`.
    """

    ids: Int32
    places: npt.NDArray[np.int64]
    lengths: list[int] | None
    prefixes: list[int] | None = None

    def positions(self) -> npt.NDArray[np.int64] | None:
        """Each token's position in its own sequence, `[1, length]`; None where rows hold one sequence each."""
        if self.lengths is None:
            return None
        prefixes = self.prefixes or [0] * len(self.lengths)
        parts = (np.arange(p, p + length) for p, length in zip(prefixes, self.lengths, strict=True))
        return np.concatenate(list(parts))[None]


def rows_of(batch: Batch, share: bool = False) -> Rows:
    """Lay a batch out. A row that is shared by none needs neither positions nor lengths.

    With `share`, the two answers of a pair in a packed row have the tokens of their prompt once.
    """
    if batch.packed and batch.sequences > 1:
        if share and any(prefixes := _common_prefixes(batch)):
            return _sharing(batch, prefixes)
        return Rows(batch.tokens[None], np.arange(len(batch.tokens)), batch.lengths.tolist())
    lengths = batch.lengths
    width = int(lengths.max())
    shift = np.arange(batch.sequences) * width - batch.offsets[:-1]
    places = np.repeat(shift, lengths) + np.arange(len(batch.tokens))
    ids = np.full((batch.sequences, width), batch.padding, dtype=np.int32)
    ids.reshape(-1)[places] = batch.tokens
    return Rows(ids, places, None)


def _common_prefixes(batch: Batch) -> list[int]:
    """Number of first tokens that the second sequence of each pair has in common with the first; 0 for all others.

    A sequence keeps its last token for itself.
    """
    found = [0] * batch.sequences
    for second in range(1, batch.sequences):
        if batch.group[second] != batch.group[second - 1] or found[second - 1]:
            continue
        start, middle, end = (int(place) for place in batch.offsets[second - 1 : second + 2])
        one, other = batch.tokens[start:middle], batch.tokens[middle : end - 1]
        size = min(len(one), len(other))
        differs = one[:size] != other[:size]
        found[second] = int(differs.argmax()) if differs.any() else size
    return found


def _sharing(batch: Batch, prefixes: list[int]) -> Rows:
    """One row in which prefixes are left out, as they lie there already."""
    kept = batch.lengths - prefixes
    starts = np.concatenate([[0], np.cumsum(kept)[:-1]])
    places = np.concatenate(
        [
            np.concatenate(
                [np.arange(starts[at - 1], starts[at - 1] + prefix), np.arange(start, start + own)]
            )
            for at, (start, own, prefix) in enumerate(zip(starts, kept, prefixes, strict=True))
        ]
    ).astype(np.int64)
    ids = np.empty((1, int(kept.sum())), dtype=np.int32)
    ids[0, places] = batch.tokens
    return Rows(ids, places, kept.tolist(), prefixes)
