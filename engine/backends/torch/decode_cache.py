"""Keys and values of rows that grow together, right-aligned: the newest token of every row is in the last column.

So a step writes one column for all rows, distances between columns are distances between positions (a sliding window
stays one), and transformers' own mask for padding on the left is the mask. Columns left of all rows cost nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

SPARE = 256
"""Columns made at once beyond those that are needed."""


class Columns:
    """The part of all layers' buffers that is in use: `rows`, and the columns from `start` up to `end`."""

    def __init__(self) -> None:
        self.rows = self.start = self.end = 0

    @property
    def width(self) -> int:
        """Columns in use."""
        return self.end - self.start


class RowLayer(CacheLayerMixin):
    """Keys and values of one layer, `[slots, heads, capacity, d]` each."""

    def __init__(self, columns: Columns, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.columns, self.keys, self.values, self.is_initialized = columns, keys, values, True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the buffers are there."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the last column of all rows, `[rows, heads, 1, d]`; returns all columns in use."""
        rows, start, end = self.columns.rows, self.columns.start, self.columns.end
        self.keys[:rows, :, end - 1 : end] = key_states
        self.values[:rows, :, end - 1 : end] = value_states
        return self.keys[:rows, :, start:end], self.values[:rows, :, start:end]

    def get_seq_length(self) -> int:
        """Columns before the one that is being written."""
        return self.columns.width - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that are attended to, and the first of them."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1


class RowCache(Cache):
    """The cache of a batch whose rows join and leave. `lengths` are the tokens of each row that is there."""

    def __init__(self, slots: int) -> None:
        super().__init__(layers=[])
        self.slots, self.columns, self.capacity = slots, Columns(), 0
        self.lengths: list[int] = []
        self._present = torch.zeros(0, dtype=torch.bool)

    def join(self, prefilled: Cache, lengths: Sequence[int]) -> None:
        """Take up rows that begin at the first column of `prefilled` and are padded on the right."""
        columns, longest = self.columns, max(lengths)
        if not self.layers:
            self._create(prefilled, longest)
        if longest > columns.end:
            self._move(longest + SPARE, longest)
        for layer, new in zip(self.layers, prefilled.layers, strict=True):
            for at, length in enumerate(lengths):
                row, first = columns.rows + at, columns.end - length
                layer.keys[row, :, first : columns.end] = new.keys[at, :, :length]
                layer.values[row, :, first : columns.end] = new.values[at, :, :length]
        for at, length in enumerate(lengths):
            present = self._present[columns.rows + at]
            present.zero_()
            present[columns.end - length : columns.end] = True
        self.lengths += lengths
        columns.rows += len(lengths)
        self._trim()

    def leave(self, row: int) -> None:
        """Drop a row; the last one takes its place."""
        columns, last = self.columns, self.columns.rows - 1
        if row != last:
            length = self.lengths[last]
            span = slice(columns.end - length, columns.end)
            for layer in self.layers:
                layer.keys[row, :, span] = layer.keys[last, :, span]
                layer.values[row, :, span] = layer.values[last, :, span]
            self._present[row] = self._present[last]
            self.lengths[row] = length
        self.lengths.pop()
        columns.rows = last
        self._trim()

    def advance(self) -> tuple[Tensor, Tensor]:
        """Open a column for the next token of every row; the mask `[rows, columns]`, and positions `[rows, 1]`."""
        columns = self.columns
        if columns.end == self.capacity:
            self._move(max(columns.width, self.capacity) + SPARE, columns.width)
        self._present[:, columns.end] = True
        columns.end += 1
        positions = torch.tensor(self.lengths, device=self._present.device).unsqueeze(1)
        self.lengths = [length + 1 for length in self.lengths]
        return self._present[: columns.rows, columns.start : columns.end], positions

    def _trim(self) -> None:
        """Leave out the columns that no row reaches; without rows, begin again."""
        columns = self.columns
        if not self.lengths:
            columns.start = columns.end = 0
        columns.start = columns.end - max(self.lengths, default=0)

    def _create(self, prefilled: Cache, longest: int) -> None:
        self.capacity = longest + SPARE
        for layer in prefilled.layers:
            shapes = (
                (self.slots, part.shape[1], self.capacity, part.shape[3])
                for part in (layer.keys, layer.values)
            )
            keys, values = (layer.keys.new_zeros(shape) for shape in shapes)
            self.layers.append(RowLayer(self.columns, keys, values))
        self._present = torch.zeros(
            self.slots, self.capacity, dtype=torch.bool, device=self.layers[0].keys.device
        )

    def _move(self, capacity: int, end: int) -> None:
        """Put the columns in use up to column `end`, in buffers of at least `capacity` columns."""
        columns = self.columns
        old, new = slice(columns.start, columns.end), slice(end - columns.width, end)
        capacity = max(capacity, self.capacity)

        def moved(buffer: Tensor, axis: int) -> Tensor:
            shape = [*buffer.shape]
            shape[axis] = capacity
            made = buffer.new_zeros(shape)
            made.narrow(axis, new.start, columns.width).copy_(buffer.narrow(axis, old.start, columns.width))
            return made

        for layer in self.layers:
            layer.keys, layer.values = moved(layer.keys, 2), moved(layer.values, 2)
        self._present = moved(self._present, 1)
        columns.start, columns.end, self.capacity = new.start, end, capacity
