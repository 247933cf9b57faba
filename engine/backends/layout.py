"""The rows that a micro-batch becomes: one for each sequence, padded on the right, or all in one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.data.types import Batch, Int32


@dataclass(frozen=True)
class Rows:
    """Token ids int32 `[rows, length]`, and where the tokens of the batch lie in them.

    `places` int64 `[total]` are flat positions. `lengths` are those of the sequences in the one row that they share;
    None where each has a row.
    """

    ids: Int32
    places: npt.NDArray[np.int64]
    lengths: list[int] | None

    def positions(self) -> npt.NDArray[np.int64] | None:
        """Each token's position in its own sequence, `[1, length]`; None where rows hold one sequence each."""
        if self.lengths is None:
            return None
        return np.concatenate([np.arange(length) for length in self.lengths])[None]


def rows_of(batch: Batch) -> Rows:
    """Lay a batch out. A row that is shared by none needs neither positions nor lengths."""
    if batch.packed and batch.sequences > 1:
        return Rows(batch.tokens[None], np.arange(len(batch.tokens)), batch.lengths.tolist())
    lengths = batch.lengths
    width = int(lengths.max())
    shift = np.arange(batch.sequences) * width - batch.offsets[:-1]
    places = np.repeat(shift, lengths) + np.arange(len(batch.tokens))
    ids = np.full((batch.sequences, width), batch.padding, dtype=np.int32)
    ids.reshape(-1)[places] = batch.tokens
    return Rows(ids, places, None)
