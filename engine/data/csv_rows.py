"""Rows of CSV: a header and records, parted by commas, semicolons or tabs."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.rows import Columns, Keep, Origin, Table, not_utf8
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
        for index, (header, number, record) in enumerate(self._read()):
            if keep is None or keep[index]:
                yield f"{self.name}:{number}", self.columns(header, record, number)

    def broken(self) -> Iterator[tuple[int, DataError]]:
        for index, (header, number, record) in enumerate(self._read()):
            try:
                self.columns(header, record, number)
            except DataError as error:
                yield index, error

    def _read(self) -> Iterator[tuple[list[str], int, list[str]]]:
        """The header, and line and fields of each record."""
        csv.field_size_limit(2**31 - 1)  # the default, 128 KiB a field, is less than a long document
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter(), strict=True)
            header = self.header(reader)
            yield from ((header, number, record) for number, record in self._records(reader))

    def delimiter(self) -> str:
        """What parts the fields of the header."""
        if self.parted_by:
            return self.parted_by
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return max(",;\t", key=file.readline().count)

    def header(self, reader: Iterator[list[str]]) -> list[str]:
        """The columns' names, from the first record. Raises `DataError` where they name nothing, or one twice."""
        try:
            names = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise self.wrong(1, error) from error
        named = list(filter(None, names))
        if len(set(named)) < len(named) or not named:
            raise DataError(
                f"{self.name}:1: the header has a repeated column name, or none: {', '.join(names)}",
                "The first line names the columns, each once.",
            )
        return names

    @property
    def notes(self) -> tuple[str, ...]:
        """What is left out of every record: columns without a name, as the index that pandas writes."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            header = self.header(csv.reader(file, delimiter=self.delimiter()))
        nameless = [str(number) for number, name in enumerate(header, start=1) if not name]
        if not nameless:
            return ()
        many = "columns" if len(nameless) > 1 else "column"
        return (f"{self.name}: {many} {', '.join(nameless)} left out: the header has no name there",)

    def _records(self, reader: Any) -> Iterator[tuple[int, list[str]]]:
        """The line on which each record starts, and its fields; a quoted field may span lines."""
        while True:
            number = reader.line_num + 1
            try:
                record = next(reader, None)
            except csv.Error as error:
                raise self.wrong(number, error) from error
            if record is None:
                return
            if record:
                yield number, record

    def wrong(self, number: int, error: csv.Error) -> DataError:
        """What to say of a record that is no CSV."""
        hint = "Look for a quote that is never closed."
        if "expected after" in str(error):
            hint = 'A quote inside a quoted field is written twice (""), not as \\".'
        return DataError(f"{self.name}:{number}: not valid CSV: {error}", hint)

    def columns(self, header: list[str], record: list[str], number: int) -> Columns:
        """A record's fields by column. Raises `DataError` where there are too many or too few."""
        if len(record) != len(header):
            raise DataError(
                f"{self.name}:{number}: {len(record)} fields where the header names {len(header)} columns",
                "Put fields that contain the separator or a line break in double quotes.",
            )
        found = dict(zip(header, record, strict=True))
        found.pop("", None)  # a column without a name, see `notes`
        return found


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
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(f"{name}:{number}", offset + error.start, line) from error
            offset += len(line)
