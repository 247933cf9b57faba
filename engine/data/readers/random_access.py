"""Random access to the rows of a source by their number.

A file of a million rows is never held: of lines, records and arrays the byte offsets of the rows are
(`row_places.py`), of Parquet and Arrow a thousand rows at a time, of documents none.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from engine.data.readers.arrow import ColumnTable, as_text, parts
from engine.data.readers.csv_table import Csv
from engine.data.readers.json_array import JsonArray
from engine.data.readers.jsonl import JsonLines
from engine.data.readers.offsets import CsvRows, ItemRows, LineRows, TextRows
from engine.data.readers.registry import DOCUMENTS, read
from engine.data.readers.table import ROW_BYTES, Columns, Origin, Table
from engine.data.readers.text import SampleBy, Text
from engine.errors import DataError


class Rows(Protocol):
    """The rows of one source, by their number from 0."""

    name: str

    @property
    def known(self) -> int:
        """Rows that can be read now: all of them, or those counted so far."""
        ...

    @property
    def counting(self) -> float | None:
        """The share of the source that has been counted, 0 to 1; None once it is known how many rows there are."""
        ...

    @property
    def error(self) -> DataError | None:
        """Error that ended the counting early: nothing after it can be divided into rows."""
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


def open_rows(path: Path, name: str, kind: str = "", by: SampleBy = "document") -> Rows:
    """Open a plain file that is there and not empty, of a kind that is a suffix. Raises `DataError`."""
    kind = kind or path.suffix.lower()
    if kind in (".csv", ".tsv"):
        return CsvRows(path, name, "\t" if kind == ".tsv" else "")
    if kind in DOCUMENTS and by == "document":
        return DocumentRows(read(path, name, kind, by), name)
    table = read(path, name, kind, by)
    match table:
        case ColumnTable():
            return BatchRows(table)
        case JsonArray():
            return ItemRows(table)
        case Text():
            return TextRows(table)
        case Csv():
            return CsvRows(path, name, table.parted_by)
        case JsonLines():
            return LineRows(table)
    return DocumentRows(table, name)


class DocumentRows:
    """A document, read when it is shown; or the parts of a page of HTML."""

    error: DataError | None = None
    counting: float | None = None

    def __init__(self, table: Table, name: str) -> None:
        self.name = name
        self._table = table
        self.known = table.count()

    def read(self, row: int) -> Origin:
        if not 0 <= row < self.known:
            raise IndexError(row)
        for number, origin in enumerate(self._table.rows()):
            if number == row:
                return origin
        raise DataError(f"{self.name}: has changed", "Open it again.")

    def raw(self, row: int) -> str:
        return str(self.read(row)[1]["text"])

    def close(self) -> None:
        """There is nothing to stop."""

    def texts(self, first: int, last: int) -> Iterator[tuple[int, str]]:
        """Number and text of the rows from `first` to before `last`; a page without text has none."""
        try:
            for number, (_, columns) in enumerate(self._table.rows()):
                if first <= number < last:
                    yield number, str(columns["text"])
        except DataError:
            return


class BatchRows:
    """A file of columns: it says itself where its parts are; within one, rows are read in order."""

    error: DataError | None = None
    counting: float | None = None

    def __init__(self, table: ColumnTable) -> None:
        self.name = table.name
        self._table = table
        self.known = table.count()
        self._held: tuple[int, list[Columns]] = (0, [])
        """Number of the first row that is held, and the rows."""

    def read(self, row: int) -> Origin:
        if not 0 <= row < self.known:
            raise IndexError(row)
        first, held = self._held
        if not first <= row < first + len(held):
            first, batch = next(self._table.batches(row))
            if batch.nbytes > ROW_BYTES:  # one of its rows may be too long, and the others are to be seen
                first, batch = row, batch.slice(row - first, 1)
            held = self._table.columns(first, batch)
            self._held = first, held
        return f"{self.name} row {row + 1}", held[row - first]

    def raw(self, row: int) -> str:
        try:
            return as_text(self.read(row)[1])
        except DataError:  # `read` says what is wrong with it
            return ""

    def close(self) -> None:
        """There is nothing to stop."""

    def texts(self, first: int, last: int) -> Iterator[tuple[int, str]]:
        """Number and text, as `raw`, of the rows from `first` to before `last`, read in order."""
        for start, batch in self._table.batches(first):
            for at, part in parts(start, batch):
                if part.nbytes > ROW_BYTES:
                    continue
                for number, columns in enumerate(self._table.columns(at, part), at):
                    if number >= last:
                        return
                    if number >= first:
                        yield number, as_text(columns)
