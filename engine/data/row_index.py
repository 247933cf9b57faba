"""Any row of a file, at once: where each row starts is found in the background and kept for the next time.

A file of a million rows is never held: of a JSONL or CSV file the byte offsets of its rows are (16 bytes a row),
of a Parquet file a thousand rows at a time. JSON arrays have no such places; they are read whole, up to a limit.
"""

import csv
import hashlib
import io
import json
import os
import re
import threading
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine import paths
from engine.data.readers import (
    BOM,
    Csv,
    JsonArray,
    JsonLines,
    Origin,
    Parquet,
    not_utf8,
    parse_line,
    read_json,
    row_of,
)
from engine.errors import DataError

ARRAY_BYTES = 256_000_000
"""Largest .json file that is read: its rows take several times as much memory."""
WORTH_KEEPING = 1 << 20
"""Bytes of a file from which its index is kept on disk."""
KEPT_FILES = 32
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


class IndexedRows:
    """What JSONL and CSV share: the byte offset and line number of each row."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.error: DataError | None = None
        self._size = path.stat().st_size
        self._read_to = 0
        self._places: Sequence[Sequence[int]] = (array("q"), array("q"))
        """Offsets and line numbers; they grow while the file is read."""
        self._closed = threading.Event()
        kept = _kept(path)
        self._whole = kept is not None
        if kept is not None:
            self._places = kept
        else:
            threading.Thread(target=self._count, name=f"rows of {name}", daemon=True).start()

    @property
    def known(self) -> int:
        # While it grows, the end of the last row is not known yet.
        return len(self._places[1]) if self._whole else max(0, len(self._places[1]) - 1)

    @property
    def counting(self) -> float | None:
        return None if self._whole else self._read_to / max(self._size, 1)

    def close(self) -> None:
        self._closed.set()

    def raw(self, row: int) -> str:
        return self._bytes(row)[2].decode(errors="replace").rstrip("\r\n")

    def _starts(self) -> Iterator[tuple[int, int]]:
        """Byte offset and line number from 1 of each row. Raises `DataError` where rows cannot be told apart."""
        raise NotImplementedError

    def _count(self) -> None:
        offsets, lines = array("q"), array("q")
        self._places = offsets, lines
        try:
            for offset, line in self._starts():
                offsets.append(offset)
                lines.append(line)  # appended last: `known` looks at it
                self._read_to = offset
                if self._closed.is_set():
                    return
        except DataError as error:
            self.error = error
        except OSError as error:
            self.error = DataError(f"{self.name}: cannot be read: {error.strerror}", "Open it again.")
        self._whole = True
        if self.error is None and self._size >= WORTH_KEEPING:
            _keep(self.path, offsets, lines)

    def _bytes(self, row: int) -> tuple[int, int, bytes]:
        """Offset, line number and bytes of a row."""
        offsets, lines = self._places
        if not 0 <= row < self.known:
            raise IndexError(row)
        start = int(offsets[row])
        end = int(offsets[row + 1]) if row + 1 < len(offsets) else self._size
        with self.path.open("rb") as file:
            file.seek(start)
            return start, int(lines[row]), file.read(end - start)


class LineRows(IndexedRows):
    """JSONL: the rows are the lines that are not blank."""

    def read(self, row: int) -> Origin:
        offset, number, data = self._bytes(row)
        where = f"{self.name}:{number}"
        line = data.partition(b"\n")[0]  # what follows are blank lines
        return where, row_of(parse_line(line, where, offset), where)

    def raw(self, row: int) -> str:
        return self._bytes(row)[2].partition(b"\n")[0].decode(errors="replace").rstrip("\r")

    def _starts(self) -> Iterator[tuple[int, int]]:
        for number, offset, _ in JsonLines(self.path, self.name).lines():
            yield offset, number


class CsvRows(IndexedRows):
    """CSV: a record may span lines where a field is quoted."""

    def __init__(self, path: Path, name: str) -> None:
        self._table = Csv(path, name)
        self._delimiter = self._table.delimiter()
        csv.field_size_limit(2**31 - 1)
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            self._header = self._table.header(next(csv.reader(file, delimiter=self._delimiter), []))
        super().__init__(path, name)

    def read(self, row: int) -> Origin:
        offset, number, data = self._bytes(row)
        where = f"{self.name}:{number}"
        try:
            text = io.StringIO(data.decode(), newline="")
            record = next(csv.reader(text, delimiter=self._delimiter, strict=True))
        except UnicodeDecodeError as error:
            raise not_utf8(where, offset + error.start, data) from error
        except csv.Error as error:
            raise self._table.broken(number, error) from error
        return where, self._table.columns(self._header, record, number)

    def _starts(self) -> Iterator[tuple[int, int]]:
        with self.path.open("rb") as file:
            lines = _Lines(file)
            # Latin-1 turns every byte into a character, so that a row that is not UTF-8 is one broken row.
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            next(reader, None)
            while True:
                offset, number = lines.offset, reader.line_num + 1
                try:
                    record = next(reader, None)
                except csv.Error as error:
                    raise self._table.broken(number, error) from error
                if record is None:
                    return
                if record:
                    yield offset, number


class _Lines:
    """Lines of a file as Latin-1, ended by any of \\n, \\r and \\r\\n; `offset` is where the next one starts."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._lines = (
            part for line in file for part in re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", line)
        )
        self.offset = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        body: bytes = line.removeprefix(BOM) if self.offset == 0 else line
        self.offset += len(line)
        return body.decode("latin-1")


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

    def _batch(self, row: int) -> tuple[int, list[Any]]:
        """The rows around a row, and the number of the first of them."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        first = int(self._starts[group])
        with Parquet(self._path, self.name).open() as file:
            for batch in file.iter_batches(batch_size=BATCH, row_groups=[group]):
                if row < first + batch.num_rows:
                    return first, batch.to_pylist()
                first += batch.num_rows
        raise IndexError(row)


def _file(path: Path) -> Path:
    """Where the index of a file is kept; the name changes with the file."""
    status = path.stat()
    key = f"1 {path.absolute()} {status.st_size} {status.st_mtime_ns}"
    return paths.cache() / "rows" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"


def _kept(path: Path) -> Sequence[Sequence[int]] | None:
    """The index of a file from an earlier time, not loaded but mapped; None where there is none."""
    try:
        places: Any = np.load(_file(path), mmap_mode="r")
    except (OSError, ValueError):
        return None
    return (places[0], places[1]) if places.ndim == 2 and len(places) == 2 else None


def _keep(path: Path, offsets: Sequence[int], lines: Sequence[int]) -> None:
    """Write an index whole or not at all. A disk that says no costs only the next time's wait."""
    file = _file(path)
    making = file.with_name(f"{file.stem}.{os.getpid()}.making")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with making.open("wb") as out:
            np.save(out, np.array([offsets, lines], dtype=np.int64))
        making.replace(file)
        old = sorted(file.parent.glob("*.npy"), key=lambda each: each.stat().st_mtime, reverse=True)
        for each in old[KEPT_FILES:]:
            each.unlink(missing_ok=True)
    except OSError:
        making.unlink(missing_ok=True)
