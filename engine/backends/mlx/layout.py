"""A batch in shapes that repeat, so that a step is compiled for a few of them only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.data.types import UNTRAINED, Batch, Int32

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
    n was rounded up.
    """

    input_ids: Int32
    segment_ids: Int32
    where: Int32
    targets: Int32
    counted: npt.NDArray[np.float32]
    packed: bool

    @property
    def trained_tokens(self) -> int:
        return int(self.counted.sum())


def rounded(size: int) -> int:
    """The next of the lengths 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, …"""
    step = 2 ** max(0, (size - 1).bit_length() - 1) // STEPS_PER_DOUBLING
    return SMALLEST if size <= SMALLEST else -(-size // step) * step


def lay_out(batch: Batch) -> Rows:
    """Rows of a rounded length. A packed row is folded into rows about as long as its longest example.

    Attention costs the square of a row's length: examples share a row only where it gets no longer by that.
    """
    packed = int(batch.segment_ids.max(initial=0)) > 1
    places, rows, length = _folded(batch) if packed else _padded(batch)
    ids, segments = (np.zeros(rows * length, dtype=np.int32) for _ in range(2))
    real = batch.segment_ids > 0
    ids[places[real]] = batch.input_ids[real]
    segments[places[real]] = batch.segment_ids[real]
    trained = (batch.labels != UNTRAINED) & (batch.position_ids > 0)
    where = places[trained] - 1  # a token is predicted one position earlier
    share = -(-ids.size // SHARES)
    count = max(1, -(-len(where) // share)) * share
    return Rows(
        input_ids=ids.reshape(rows, length),
        segment_ids=segments.reshape(rows, length),
        where=_filled(where, count),
        targets=_filled(batch.labels[trained], count),
        counted=(np.arange(count) < len(where)).astype(np.float32),
        packed=packed,
    )


def _padded(batch: Batch) -> tuple[npt.NDArray[np.int64], int, int]:
    """Where each token goes, as a flat position `[rows, length]`, and the new rows and length."""
    rows, length = batch.input_ids.shape
    wider = rounded(length)
    return np.arange(rows)[:, None] * wider + np.arange(length), rows, wider


def _folded(batch: Batch) -> tuple[npt.NDArray[np.int64], int, int]:
    """The same for a packed row: each example into the first row that has room, the longest first."""
    segments = batch.segment_ids[0]
    starts = np.flatnonzero(np.diff(segments, prepend=0) & (segments > 0))
    lengths = np.bincount(segments)[segments[starts]]
    length = rounded(int(lengths.max()))
    places = np.zeros(segments.shape, dtype=np.int64)
    used: list[int] = []
    for start, size in sorted(zip(starts.tolist(), lengths.tolist(), strict=True), key=lambda part: -part[1]):
        row = next((row for row, end in enumerate(used) if end + size <= length), len(used))
        if row == len(used):
            used.append(0)
        places[start : start + size] = row * length + used[row] + np.arange(size)
        used[row] += size
    return places[None], len(used), length


def _filled(values: npt.NDArray[np.integer], count: int) -> Int32:
    """`values` with zeros up to `count`."""
    wide = np.zeros(count, dtype=np.int32)
    wide[: len(values)] = values
    return wide
