"""Rows of Parquet and Arrow. pyarrow is imported where a file is opened: it is heavy."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.readers.arrow_values import Feature, features_of, repeated_name, rows_of
from engine.data.readers.table import ROW_BYTES, Columns, Keep, Origin, Table, too_long
from engine.errors import DataError

BATCH = 1000
"""Rows that are made into Python objects together."""
STREAM = b"\xff\xff\xff\xff"
"""First bytes of a stream of Arrow messages; a file of them begins with `ARROW1`."""


@dataclass(frozen=True)
class ColumnTable:
    """A file of columns, read a thousand rows at a time."""

    path: Path
    name: str
    kind = ""

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Number of the first row of each part that can be read on its own, and of all rows. Raises `DataError`."""
        with self.reading():
            return np.concatenate([[0], np.cumsum(self._lengths(), dtype=np.int64)]).astype(np.int64)

    @cached_property
    def features(self) -> Mapping[str, Feature]:
        """Notes of `datasets` on the columns."""
        with self.reading():
            return features_of(self.schema())

    def schema(self) -> Any:
        """Names and types of the columns, as pyarrow has them."""
        raise NotImplementedError

    def count(self) -> int:
        return int(self.starts[-1])

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for first, batch in self.batches():
            if keep is None or keep[first : first + batch.num_rows].any():
                for at, part in parts(first, batch):
                    if keep is None or keep[at : at + part.num_rows].any():
                        for index, columns in enumerate(self.columns(at, part), start=at):
                            if keep is None or keep[index]:
                                yield f"{self.name} row {index + 1}", columns

    def broken(self) -> Iterator[tuple[int, DataError]]:
        """A file of columns is whole or not at all, but for rows that are too long."""
        for part, first in enumerate(self.starts[:-1].tolist()):
            if self._size(part) <= ROW_BYTES:
                continue
            for start, batch in self.batches(first):
                if start >= self.starts[part + 1]:
                    break
                for row, one in parts(start, batch):
                    if one.nbytes > ROW_BYTES:
                        yield row, too_long(f"{self.name} row {row + 1}")

    def batches(self, row: int = 0) -> Iterator[tuple[int, Any]]:
        """Number of the first row, and at most `BATCH` rows, from a row's batch on. Raises `DataError`, also where a
        value is damaged.
        """
        part = max(0, int(np.searchsorted(self.starts, row, side="right")) - 1)
        first = int(self.starts[part])
        with self.reading():
            for batch in self._batches(part):
                if row < first + batch.num_rows:
                    batch.validate(full=True)  # offsets of a damaged file lead anywhere in memory
                    yield first, batch
                first += batch.num_rows
        if first != self.count():
            raise DataError(
                f"{self.name}: holds {first:,} rows and says that it has {self.count():,}",
                "Write it again, or convert it to JSONL.",
            )

    def columns(self, first: int, batch: Any) -> list[Columns]:
        """The rows of a batch that begins with row `first`. Raises `DataError` where Python has no such value, or a row
        is too long.
        """
        for row, part in parts(first, batch):
            if part.nbytes > ROW_BYTES:
                raise too_long(f"{self.name} row {row + 1}")
        with self.reading():
            try:
                return rows_of(batch, self.features)
            except (json.JSONDecodeError, RecursionError) as error:
                raise self._not_json(first, batch) from error

    def _not_json(self, first: int, batch: Any) -> DataError:
        """Error for the row of a batch that holds a text which is not JSON, as its column's type says."""
        for number in range(batch.num_rows):
            try:
                rows_of(batch.slice(number, 1), self.features)
            except (json.JSONDecodeError, RecursionError) as error:
                return DataError(
                    f"{self.name} row {first + number + 1}: a value of the type JSON is not JSON: {error}",
                    "Write the file again, or convert it to JSONL.",
                )
        raise AssertionError("every row by itself is JSON, and all of them together are not")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what the reader says of a damaged file into a `DataError`."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
            problem = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{self.name}: not {self.kind} file: {problem}", "Write it again, or convert it to JSONL."
            ) from error

    def _lengths(self) -> list[int]:
        raise NotImplementedError

    def _size(self, part: int) -> int:
        """Bytes of a part, or more."""
        raise NotImplementedError

    def _batches(self, part: int) -> Iterator[Any]:
        """At most `BATCH` rows, from a part on."""
        raise NotImplementedError


class Parquet(ColumnTable):
    """A Parquet file; its parts are row groups."""

    kind = "a Parquet"

    def schema(self) -> Any:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            return file.schema_arrow

    def _lengths(self) -> list[int]:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            return [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]

    def _batches(self, part: int) -> Iterator[Any]:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            for group in range(part, file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                most = min(BATCH, max(1, ROW_BYTES * rows // max(1, self._size(group))))
                yield from file.iter_batches(most, row_groups=[group])

    def _size(self, part: int) -> int:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            return int(file.metadata.row_group(part).total_byte_size)


class Arrow(ColumnTable):
    """An Arrow file, or a stream of Arrow's as `datasets` writes it, mapped into memory by the record batch."""

    kind = "an Arrow"

    def _lengths(self) -> list[int]:
        return [batch.num_rows for batch in self._parts(0)]

    def _batches(self, part: int) -> Iterator[Any]:
        for batch in self._parts(part):
            yield from (batch.slice(start, BATCH) for start in range(0, batch.num_rows, BATCH))

    def schema(self) -> Any:
        with self._opened() as (reader, _):
            return reader.schema

    def _size(self, part: int) -> int:
        return self.path.stat().st_size

    def _parts(self, part: int) -> Iterator[Any]:
        with self._opened() as (reader, is_stream):
            if is_stream:
                yield from (batch for number, batch in enumerate(reader) if number >= part)
            else:
                yield from (reader.get_batch(n) for n in range(part, reader.num_record_batches))

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, bool]]:
        """Reader of the file, and True if it is a stream."""
        import pyarrow as pa

        with pa.memory_map(str(self.path)) as mapped:
            is_stream = mapped.read(len(STREAM)) == STREAM
            mapped.seek(0)
            yield pa.ipc.open_stream(mapped) if is_stream else pa.ipc.open_file(mapped), is_stream


def read_parquet(path: Path, name: str) -> Table:
    """A .parquet file. Raises `DataError` where it is none."""
    return _checked(Parquet(path, name))


def read_arrow(path: Path, name: str) -> Table:
    """An .arrow file, or a stream. Raises `DataError` where it is none."""
    return _checked(Arrow(path, name))


def _checked(table: ColumnTable) -> ColumnTable:
    with table.reading():
        schema = table.schema()
    if name := repeated_name(schema):
        raise DataError(
            f"{table.name}: two columns are called `{name}`", "Give every column and key a name of its own."
        )
    table.count()
    return table


def as_text(columns: Columns) -> str:
    """A row as text, for people and for searching."""
    return json.dumps(columns, ensure_ascii=False, default=str)


def parts(first: int, batch: Any) -> Iterator[tuple[int, Any]]:
    """A batch and the number of its first row; of one in which a row may be too long, each row for itself."""
    if batch.nbytes <= ROW_BYTES:
        yield first, batch
    else:
        yield from ((first + index, batch.slice(index, 1)) for index in range(batch.num_rows))
