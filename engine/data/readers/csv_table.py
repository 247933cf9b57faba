"""Rows of CSV: a header and records, parted by commas, semicolons or tabs."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from engine.data.readers.table import (
    BOM,
    ROW_BYTES,
    Columns,
    Keep,
    Origin,
    Table,
    bounded_lines,
    not_utf8,
    too_long,
)
from engine.errors import DataError


@dataclass(frozen=True)
class Csv:
    """A header line and records; commas, semicolons or tabs, whichever the header has most of, or the one given."""

    path: Path
    name: str
    parted_by: str = ""

    def count(self) -> int:
        return sum(1 for _ in self._read())

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for index, (header, number, record, size) in enumerate(self._read()):
            if keep is None or keep[index]:
                yield f"{self.name}:{number}", self.columns(header, record, number, size)

    def broken(self) -> Iterator[tuple[int, DataError]]:
        for index, (header, number, record, size) in enumerate(self._read()):
            try:
                self.columns(header, record, number, size)
            except DataError as error:
                yield index, error

    def _read(self) -> Iterator[tuple[list[str], int, list[str], int]]:
        """The header, and line, fields and bytes of each record; of one with a line that is too long, no fields."""
        csv.field_size_limit(ROW_BYTES)  # the default, 128 KiB a field, is less than a long document
        with self.path.open("rb") as file:
            lines = TextLines(file)
            reader = csv.reader(lines, delimiter=self.delimiter(), strict=True)
            header = self.header(reader, lines)
            yield from ((header, *found) for found in self._records(reader, lines))

    def delimiter(self) -> str:
        """Separator of the fields in the header."""
        if self.parted_by:
            return self.parted_by
        with self.path.open("rb") as file:
            return max(",;\t", key=file.readline(ROW_BYTES).decode(errors="replace").count)

    def header(self, reader: Iterator[list[str]], lines: "TextLines") -> list[str]:
        """The columns' names, from the first record. Raises `DataError` where they name nothing, or one twice, or are
        too long.
        """
        try:
            names = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise self.wrong(1, error, lines.bytes) from error
        if lines.long:
            raise too_long(f"{self.name}:1")
        named = list(filter(None, names))
        if len(set(named)) < len(named) or not named:
            raise DataError(
                f"{self.name}:1: the header has a repeated column name, or none: {', '.join(names)}",
                "The first line names the columns, each once.",
            )
        return names

    @property
    def notes(self) -> tuple[str, ...]:
        """Columns that are left out of every record: those without a name, as the index that pandas writes."""
        with self.path.open("rb") as file:
            lines = TextLines(file, "replace")
            header = self.header(csv.reader(lines, delimiter=self.delimiter()), lines)
        nameless = [str(number) for number, name in enumerate(header, start=1) if not name]
        if not nameless:
            return ()
        many = "columns" if len(nameless) > 1 else "column"
        return (f"{self.name}: {many} {', '.join(nameless)} left out: the header has no name there",)

    def _records(self, reader: Any, lines: "TextLines") -> Iterator[tuple[int, list[str], int]]:
        """The line on which each record starts, its fields and bytes; a quoted field may span lines."""
        while True:
            number, before = reader.line_num + 1, lines.bytes
            lines.long = False
            try:
                record = next(reader, None)
            except csv.Error as error:
                raise self.wrong(number, error, lines.bytes - before) from error
            if record is None:
                return
            if record or lines.long:
                yield number, record, lines.bytes - before if lines.long else 0

    def wrong(self, number: int, error: csv.Error, size: int = 0) -> DataError:
        """Error for a record of `size` bytes that is not CSV."""
        if size > ROW_BYTES:
            return too_long(f"{self.name}:{number}")
        hint = "Look for a quote that is never closed."
        if "expected after" in str(error):
            hint = 'A quote inside a quoted field is written twice (""), not as \\".'
        return DataError(f"{self.name}:{number}: not valid CSV: {error}", hint)

    def columns(self, header: list[str], record: list[str], number: int, size: int = 0) -> Columns:
        """A record's fields by column. Raises `DataError` where there are too many or too few, or its bytes are."""
        if size > ROW_BYTES:
            raise too_long(f"{self.name}:{number}")
        if len(record) != len(header):
            raise DataError(
                f"{self.name}:{number}: {len(record)} fields where the header names {len(header)} columns",
                "Put fields that contain the separator or a line break in double quotes.",
            )
        found = dict(zip(header, record, strict=True))
        found.pop("", None)  # a column without a name, see `notes`
        return found


class TextLines:
    """The lines of a file as text, ended by any of \\n, \\r and \\r\\n. One that is too long is empty, and noted."""

    def __init__(self, file: IO[bytes], errors: Literal["strict", "replace"] = "strict") -> None:
        """`errors` is what to do with bytes that are not UTF-8."""
        self._lines, self._errors = divided(file), errors
        self.bytes = 0
        """Bytes that were read."""
        self.long = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, size = next(self._lines)
        body = line.removeprefix(BOM) if not self.bytes else line
        self.bytes += size
        if size > ROW_BYTES:
            self.long = True
            return "\n"
        return body.decode(errors=self._errors)


def divided(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """`bounded_lines`, those divided in which \\r stands alone."""
    for line, size in bounded_lines(file):
        if size > ROW_BYTES or line.count(b"\r") == line.endswith(b"\r\n"):
            yield line, size
        else:
            yield from ((part, len(part)) for part in re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", line))


def read_csv(path: Path, name: str) -> Table:
    """A .csv file with a header. All of it is checked to be UTF-8 first, so that errors have an offset."""
    _check_utf8(path, name)
    return Csv(path, name)


def read_tsv(path: Path, name: str) -> Table:
    """A .tsv file with a header: tabs part the fields. Checked as a .csv file is."""
    _check_utf8(path, name)
    return Csv(path, name, "\t")


def _check_utf8(path: Path, name: str) -> None:
    offset, number = 0, 0
    with path.open("rb") as file:
        for number, (line, size) in enumerate(bounded_lines(file), start=1):
            try:
                if size <= ROW_BYTES:
                    line.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(f"{name}:{number}", offset + error.start, line) from error
            offset += size
