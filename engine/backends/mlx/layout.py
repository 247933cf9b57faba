"""A batch in shapes that repeat, so that a step is compiled for a few of them only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.types import Batch, Int32

SMALLEST = 16
STEPS_PER_DOUBLING = 4
"""Lengths are rounded up to one of four in every doubling: at most a fifth of a row is padding."""
SHARES = 8
"""Trained positions are rounded up to a whole number of eighths of all positions."""


@dataclass(frozen=True)
class Rows:
    """A batch as the compiled step takes it.

    `input_ids`, `segment_ids` int32 `[rows, length]`; `where` int32 `[n]`, the flat positions that predict a
    trained token, `targets` int32 `[n]`, those tokens in the batch's own order; `counted` float32 `[n]`, 0 where
    n was rounded up, else the token's weight.
    """

    input_ids: Int32
    segment_ids: Int32
    where: Int32
    targets: Int32
    counted: npt.NDArray[np.float32]
    packed: bool
    trained_tokens: int


def rounded(size: int) -> int:
    """The next of the lengths 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, …"""
    step = 2 ** max(0, (size - 1).bit_length() - 1) // STEPS_PER_DOUBLING
    return SMALLEST if size <= SMALLEST else -(-size // step) * step


def to_rows(batch: Batch) -> Rows:
    """Rows of a rounded length. Packed sequences share rows about as long as the longest of them.

    Attention costs the square of a row's length: sequences share a row only where it gets no longer by that.
    """
    lengths = batch.lengths
    length, packed = rounded(int(lengths.max())), batch.packed and batch.sequences > 1
    starts = _shared(lengths, length) if packed else np.arange(batch.sequences) * length
    places = np.repeat(starts - batch.offsets[:-1], lengths) + np.arange(len(batch.tokens))
    rows = int(starts.max()) // length + 1
    ids, segments = (np.zeros(rows * length, dtype=np.int32) for _ in range(2))
    ids[places] = batch.tokens
    segments[places] = np.repeat(np.arange(1, batch.sequences + 1), lengths) if packed else 1
    trained = batch.trained
    share = -(-ids.size // SHARES)
    count = max(1, -(-len(trained) // share)) * share
    return Rows(
        input_ids=ids.reshape(rows, length),
        segment_ids=segments.reshape(rows, length),
        where=_filled(places[trained], count, np.int32),
        targets=_filled(batch.targets[trained], count, np.int32),
        counted=_filled(batch.weights[trained], count, np.float32),
        packed=packed,
        trained_tokens=len(trained),
    )


def _shared(lengths: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Start of each sequence, as a flat position: in the first row that has room, the longest first."""
    starts = np.zeros(len(lengths), dtype=np.int64)
    used: list[int] = []
    for sequence in np.argsort(-lengths, kind="stable").tolist():
        size = int(lengths[sequence])
        row = next((row for row, end in enumerate(used) if end + size <= length), len(used))
        if row == len(used):
            used.append(0)
        starts[sequence] = row * length + used[row]
        used[row] += size
    return starts


def _filled(values: npt.NDArray[Any], count: int, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """`values` with zeros up to `count`."""
    wide = np.zeros(count, dtype=dtype)
    wide[: len(values)] = values
    return wide
