"""Sources of one tensor's values, read by rows: as they lie in a file, and with what an adapter changes of them.

A row is what one index of the first axis holds. A source wraps the one whose values it changes, so that a merged tensor
is made a block of rows at a time, and nothing larger than a block is in memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol

import numpy as np

from engine.models.tensors import Float32, RowTensors

BLOCK_VALUES = 1 << 19
"""Values of a block: 2 MiB in fp32, which a processor's cache holds through the passes over it."""


class Rows(Protocol):
    """Values of one tensor."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self, start: int, stop: int) -> Float32:
        """Rows from `start` to `stop` in fp32. Raises ModelError where they cannot be read."""
        ...


def blocks(rows: Rows) -> Iterator[tuple[int, int]]:
    """Bounds of blocks of about `BLOCK_VALUES` values that make up the tensor."""
    count = rows.shape[0] if rows.shape else 1
    step = max(1, BLOCK_VALUES // max(1, prod(rows.shape[1:])))
    for start in range(0, count, step):
        yield start, min(start + step, count)


@dataclass(frozen=True)
class Stored:
    """Values as the base has them."""

    tensors: RowTensors
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensors.infos[self.name].shape

    def read(self, start: int, stop: int) -> Float32:
        if not self.shape:
            return self.tensors.read(self.name)
        return self.tensors.read_rows(self.name, start, stop)


@dataclass(frozen=True)
class Held:
    """Values that are in memory."""

    values: Float32

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read(self, start: int, stop: int) -> Float32:
        return self.values[start:stop]


@dataclass(frozen=True)
class Factors:
    """A low-rank update `scale * left @ right` of a matrix `[rows, columns]`."""

    left: Float32
    """`[rows, rank]`"""
    right: Float32
    """`[rank, columns]`"""
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    @cached_property
    def _scaled(self) -> Float32:
        return np.ascontiguousarray(self.right, np.float32) * np.float32(self.scale)

    def rows(self, start: int, stop: int) -> Float32:
        """The update of these rows `[stop - start, columns]`."""
        made: Float32 = self.left[start:stop] @ self._scaled
        return made

    @property
    def transposed(self) -> "Factors":
        return Factors(self.right.T, self.left.T, self.scale)


@dataclass(frozen=True)
class LowRank:
    """W + s B A (Hu et al. 2021, arXiv:2106.09685)."""

    base: Rows
    update: Factors

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def read(self, start: int, stop: int) -> Float32:
        change = self.update.rows(start, stop)
        change += self.base.read(start, stop)
        return change


@dataclass(frozen=True)
class Magnified:
    """DoRA: m (W + s B A) / ‖W + s B A‖, where the norm is of what makes one output (Liu et al. 2024, arXiv:2402.09353,
    equation 5)."""

    base: Rows
    """W + s B A"""
    magnitude: Float32
    """m `[outputs]`"""
    outputs_axis: int
    """0 where a row makes an output, 1 where GPT-2's layout has a column for it."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @cached_property
    def _column_factors(self) -> Float32:
        squares = np.zeros(self.shape[1])
        for start, stop in blocks(self.base):
            squares += np.square(self.base.read(start, stop), dtype=np.float64).sum(0)
        return (self.magnitude / np.sqrt(squares)).astype(np.float32)

    def read(self, start: int, stop: int) -> Float32:
        values = self.base.read(start, stop)
        if self.outputs_axis == 1:
            return values * self._column_factors
        factors = self.magnitude[start:stop] / np.linalg.norm(values, axis=1)
        return np.asarray(values * factors[:, None], np.float32)


@dataclass(frozen=True)
class Shifted:
    """A bias with a constant added."""

    base: Rows
    by: Float32

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def read(self, start: int, stop: int) -> Float32:
        return self.base.read(start, stop) + self.by[start:stop]


@dataclass(frozen=True)
class Experts:
    """A mixture's experts as one tensor `[experts, …]`, each with an update of its own."""

    base: Rows
    updates: tuple[Factors, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def read(self, start: int, stop: int) -> Float32:
        values = np.array(self.base.read(start, stop))
        for index in range(start, stop):
            update = self.updates[index]
            values[index - start] += update.rows(0, update.shape[0])
        return values


@dataclass(frozen=True)
class Grown:
    """A matrix of the vocabulary with rows for new tokens.

    They start as `engine.backends.torch.vocabulary.grow` says: the mean of the rows of the pieces that the token's text
    was before, else the mean of all.
    """

    base: Rows
    count: int
    """Rows that it has."""
    pieces: Mapping[int, tuple[int, ...]]
    """Tokens that new ones were before, by the new id; a token without any is left out."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.count, *self.base.shape[1:]

    @cached_property
    def _mean(self) -> Float32:
        had = self.base.shape[0]
        total = sum(self.base.read(start, stop).sum(0, dtype=np.float64) for start, stop in blocks(self.base))
        return np.asarray(total / had, np.float32)

    def read(self, start: int, stop: int) -> Float32:
        had = self.base.shape[0]
        parts = [self.base.read(start, min(stop, had))] if start < had else []
        if stop > had:
            parts.append(np.tile(self._mean, (stop - max(start, had), *(1,) * (len(self.shape) - 1))))
        values = np.concatenate(parts)
        for token, pieces in self.pieces.items():
            if start <= token < stop:
                rows = [self.base.read(piece, piece + 1) for piece in pieces]
                values[token - start] = np.concatenate(rows).mean(0)
        return values


@dataclass(frozen=True)
class Replaced:
    """A matrix some of whose rows are others."""

    base: Rows
    ids: tuple[int, ...]
    rows: Float32
    """`[len(ids), columns]`"""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def read(self, start: int, stop: int) -> Float32:
        values = np.array(self.base.read(start, stop))
        for id_, row in zip(self.ids, self.rows, strict=True):
            if start <= id_ < stop:
                values[id_ - start] = row
        return values
