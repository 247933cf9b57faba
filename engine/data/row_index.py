"""Any row of a file, at once, by its number.

A file of a million rows is never held: of a JSONL or CSV file the byte offsets of its rows are (`row_places.py`),
of a Parquet file a thousand rows at a time. JSON arrays have no such places; they are read whole, up to a limit.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.data.json_rows import JsonArray, read_json, row_of
from engine.data.parquet_rows import Parquet
from engine.data.row_places import CsvRows, LineRows
from engine.data.rows import Origin
from engine.errors import DataError

ARRAY_BYTES = 256_000_000
"""Largest .json file that is read: its rows take several times as much memory."""
BATCH = 1000
"""Rows of a Parquet file that are held."""


class Rows(Protocol):
    """The rows of one file, by their number from 0."""

    name: str

    @property
    def known(self) -> int:
        """Rows that can be read now: all of them, or those counted so far."""
        ...

    @property
    def counting(self) -> float | None:
        """The share of the file that has been counted, 0 to 1; None once it is known how many rows there are."""
        ...

    @property
    def error(self) -> DataError | None:
        """What ended the counting early: nothing after it can be told apart into rows."""
        ...

    def read(self, row: int) -> Origin:
        """A row with its origin. Raises `DataError` where it is broken, IndexError where it is not `known`."""
        ...

    def raw(self, row: int) -> str:
        """A row as it stands in the file, for people to see what is broken about it."""
        ...

    def close(self) -> None:
        """Stop counting."""
        ...


def open_rows(path: Path, name: str) -> Rows:
    """Open a file that is there and not empty, by its suffix. Raises `DataError` where it holds no rows."""
    match path.suffix.lower():
        case ".jsonl":
            return LineRows(path, name)
        case ".csv":
            return CsvRows(path, name)
        case ".parquet":
            return ParquetRows(path, name)
    size = path.stat().st_size
    if size > ARRAY_BYTES:
        raise DataError(
            f"{name}: {size / 1e6:,.0f} MB of JSON would have to be read whole; the limit here is "
            f"{ARRAY_BYTES / 1e6:,.0f} MB",
            "Write it as JSONL, one object a line: those are read in place, however many.",
        )
    table = read_json(path, name)
    return HeldRows(table) if isinstance(table, JsonArray) else LineRows(path, name)


class HeldRows:
    """A JSON array, in memory whole."""

    error: DataError | None = None
    counting: float | None = None

    def __init__(self, table: JsonArray) -> None:
        self.name = table.name
        self._items = table.items

    @property
    def known(self) -> int:
        return len(self._items)

    def read(self, row: int) -> Origin:
        where = f"{self.name} row {row + 1}"
        return where, row_of(self._item(row), where)

    def raw(self, row: int) -> str:
        return json.dumps(self._item(row), ensure_ascii=False)

    def close(self) -> None:
        """There is nothing to stop."""

    def texts(self, first: int, last: int) -> Iterator[tuple[int, str]]:
        """Number and text, as `raw`, of the rows from `first` to before `last`."""
        return ((number, self.raw(number)) for number in range(first, last))

    def _item(self, row: int) -> Any:
        if not 0 <= row < len(self._items):
            raise IndexError(row)
        return self._items[row]


class ParquetRows:
    """A Parquet file: its footer says where each row group is; within one, rows are read in order."""

    error: DataError | None = None
    counting: float | None = None

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        with Parquet(path, name).open() as file:
            groups = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)])
        self._held: tuple[int, list[Any]] = (0, [])
        """Number of the first row that is held, and the rows."""

    @property
    def known(self) -> int:
        return int(self._starts[-1])

    def read(self, row: int) -> Origin:
        if not 0 <= row < self.known:
            raise IndexError(row)
        first, held = self._held
        if not first <= row < first + len(held):
            first, held = self._held = self._batch(row)
        return f"{self.name} row {row + 1}", held[row - first]

    def raw(self, row: int) -> str:
        return json.dumps(self.read(row)[1], ensure_ascii=False, default=str)

    def close(self) -> None:
        """There is nothing to stop."""

    def texts(self, first: int, last: int) -> Iterator[tuple[int, str]]:
        """Number and text, as `raw`, of the rows from `first` to before `last`, read in order."""
        for start, batch in self._batches(first):
            for number, columns in enumerate(batch.to_pylist(), start):
                if number >= last:
                    return
                if number >= first:
                    yield number, json.dumps(columns, ensure_ascii=False, default=str)

    def _batch(self, row: int) -> tuple[int, list[Any]]:
        """The rows around a row, and the number of the first of them."""
        first, batch = next(self._batches(row))
        return first, batch.to_pylist()

    def _batches(self, row: int) -> Iterator[tuple[int, Any]]:
        """The batches of rows from that of a row on, each with the number of its first."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        first = int(self._starts[group])
        groups = range(group, len(self._starts) - 1)
        with Parquet(self._path, self.name).open() as file:
            for batch in file.iter_batches(batch_size=BATCH, row_groups=groups):
                if row < first + batch.num_rows:
                    yield first, batch
                first += batch.num_rows
