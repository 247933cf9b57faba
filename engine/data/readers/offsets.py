"""Rows by their byte offset in a file, which is found in the background: 16 bytes a row are held."""

import csv
import hashlib
import io
import json
import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from engine import paths
from engine.data.readers.csv_table import Csv, TextLines, divided
from engine.data.readers.json_array import JsonArray
from engine.data.readers.jsonl import JsonLines, parse_line, row_of
from engine.data.readers.table import BOM, ROW_BYTES, Origin, not_utf8, too_long
from engine.data.readers.text import Text
from engine.errors import DataError

WORTH_KEEPING = 1 << 20
"""Bytes of a file from which its index is cached on disk, valid until the file changes."""
CACHED_INDEXES = 32


class IndexedRows:
    """The byte offset and line number of each row. `how` is what else decides where rows start."""

    def __init__(self, path: Path, name: str, how: str = "") -> None:
        self.path, self.name = path, name
        self.error: DataError | None = None
        self._size = path.stat().st_size
        self._how = how
        self._read_to = 0
        self._places: Sequence[Sequence[int]] = (array("q"), array("q"))
        """Offsets and line numbers; they grow while the file is read."""
        self._closed = threading.Event()
        kept = _cached_places(path, how)
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

    def byte(self, row: int) -> int:
        """The byte at which a known row starts; for the one after the last, where the last ends."""
        offsets = self._places[0]
        return int(offsets[row]) if row < len(offsets) else self._size

    def row_at(self, byte: int) -> int:
        """The row in which a byte lies."""
        return bisect_right(self._places[0], byte) - 1

    def _starts(self) -> Iterator[tuple[int, int]]:
        """Byte offset and line number from 1 of each row. Raises `DataError` where rows cannot be separated."""
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
            _cache_places(self.path, self._how, offsets, lines)

    def _bytes(self, row: int) -> tuple[int, int, bytes]:
        """Offset, line number and bytes of a row."""
        lines = self._places[1]
        if not 0 <= row < self.known:
            raise IndexError(row)
        start, end = self.byte(row), self.byte(row + 1)
        with self.path.open("rb") as file:
            file.seek(start)
            return start, int(lines[row]), file.read(min(end - start, ROW_BYTES + 1))

    def _checked(self, row: int) -> tuple[int, int, bytes]:
        """The same. Raises `DataError` where the row is too long."""
        start, number, data = self._bytes(row)
        if len(data) > ROW_BYTES:
            raise too_long(f"{self.name}:{number}")
        return start, number, data


class LineRows(IndexedRows):
    """JSONL: the rows are the lines that are not blank."""

    def __init__(self, table: JsonLines) -> None:
        self._table = table
        super().__init__(table.path, table.name)

    def read(self, row: int) -> Origin:
        offset, number, data = self._checked(row)
        where = f"{self.name}{self._table.unit}{number}"
        line = data.partition(b"\n")[0]  # what follows are blank lines
        return where, row_of(parse_line(line, where, offset), where)

    def raw(self, row: int) -> str:
        return self._bytes(row)[2].partition(b"\n")[0].decode(errors="replace").rstrip("\r")

    def _starts(self) -> Iterator[tuple[int, int]]:
        for number, offset, _, _ in self._table.lines():
            yield offset, number


class ItemRows(IndexedRows):
    """A JSON array: the rows are its items."""

    def __init__(self, table: JsonArray) -> None:
        self._table = table
        super().__init__(table.path, table.name, "json")

    def read(self, row: int) -> Origin:
        where = f"{self.name} row {row + 1}"
        return where, row_of(self._item(row)[0], where)

    def raw(self, row: int) -> str:
        return self._item(row)[1]

    def _item(self, row: int) -> tuple[Any, str]:
        """An item, and how it is written; it was parsed once when it was counted."""
        text = self._bytes(row)[2].decode(errors="replace")
        value, end = json.JSONDecoder().raw_decode(text)
        return value, text[:end]

    def _starts(self) -> Iterator[tuple[int, int]]:
        return (place for place, _ in self._table.items())


class TextRows(IndexedRows):
    """Plain text of which every paragraph or line is a row."""

    def __init__(self, table: Text) -> None:
        self._table = table
        super().__init__(table.path, table.name, table.by)

    def read(self, row: int) -> Origin:
        offset, number, data = self._checked(row)
        block = next(self._table.blocks_in(io.BytesIO(data), number, offset), (number, offset, b""))
        return self._table.row(*block)

    def _starts(self) -> Iterator[tuple[int, int]]:
        return ((offset, number) for number, offset, _ in self._table.blocks())


class CsvRows(IndexedRows):
    """CSV: a record may span lines where a field is quoted."""

    def __init__(self, path: Path, name: str, parted_by: str = "") -> None:
        self._table = Csv(path, name, parted_by)
        self._delimiter = self._table.delimiter()
        csv.field_size_limit(ROW_BYTES)
        with path.open("rb") as file:
            lines = TextLines(file, "replace")  # what is not UTF-8 is an error of the row that has it
            self._header = self._table.header(csv.reader(lines, delimiter=self._delimiter), lines)
        super().__init__(path, name, f"csv {self._delimiter}")

    def read(self, row: int) -> Origin:
        offset, number, data = self._checked(row)
        where = f"{self.name}:{number}"
        try:
            text = io.StringIO(data.decode(), newline="")
            record = next(csv.reader(text, delimiter=self._delimiter, strict=True))
        except UnicodeDecodeError as error:
            raise not_utf8(where, offset + error.start, data) from error
        except csv.Error as error:
            raise self._table.wrong(number, error) from error
        return where, self._table.columns(self._header, record, number)

    def _starts(self) -> Iterator[tuple[int, int]]:
        with self.path.open("rb") as file:
            after_header = islice(self._records(_Lines(file)), 1, None)
            yield from ((offset, number) for offset, number, filled in after_header if filled)

    def _records(self, lines: "_Lines") -> Iterator[tuple[int, int, bool]]:
        """Byte offset and line number of each record, and whether there is anything in it."""
        offset, number = 0, 1
        for line in lines:
            if '"' not in line:
                filled = bool(line.rstrip("\r\n"))
            else:  # it may continue over the next lines: csv knows, and takes as many as it needs
                try:
                    rest = chain([line], lines)
                    filled = bool(next(csv.reader(rest, delimiter=self._delimiter, strict=True)))
                except csv.Error as error:
                    raise self._table.wrong(number, error) from error
            yield offset, number, filled
            offset, number = lines.offset, lines.number + 1


class _Lines:
    """Lines of a file, ended by any of \\n, \\r and \\r\\n; `offset` is where the next one starts.

    They are read as Latin-1, which turns every byte into a character: a row that is not UTF-8 is one broken row.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._lines = divided(file)
        self.offset = 0
        self.number = 0
        """Lines that were read."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, size = next(self._lines)
        body = line.removeprefix(BOM) if self.offset == 0 else line
        self.offset += size
        self.number += 1
        return "too long" if size > ROW_BYTES else body.decode("latin-1")


def _file(path: Path, how: str) -> Path:
    """Path of a file's index; the name changes with the file, and with `how` it is read."""
    status = path.stat()
    key = f"2 {path.absolute()} {status.st_size} {status.st_mtime_ns} {how}"
    return paths.cache() / "rows" / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.npy"


def _cached_places(path: Path, how: str) -> Sequence[Sequence[int]] | None:
    """Map the index of a file that was written earlier; None if there is none."""
    try:
        places: Any = np.load(_file(path, how), mmap_mode="r")
    except (OSError, ValueError):
        return None
    return (places[0], places[1]) if places.ndim == 2 and len(places) == 2 else None


def _cache_places(path: Path, how: str, offsets: Sequence[int], lines: Sequence[int]) -> None:
    """Write an index, whole or not at all. Where the disk refuses, the file is indexed again next time."""
    file = _file(path, how)
    making = file.with_name(f"{file.stem}.{os.getpid()}.making")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with making.open("wb") as out:
            np.save(out, np.array([offsets, lines], dtype=np.int64))
        making.replace(file)
        old = sorted(file.parent.glob("*.npy"), key=lambda each: each.stat().st_mtime, reverse=True)
        for each in old[CACHED_INDEXES:]:
            each.unlink(missing_ok=True)
    except OSError:
        making.unlink(missing_ok=True)
