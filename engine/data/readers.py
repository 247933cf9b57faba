"""Files → rows, each a mapping with its origin. One reader a suffix, found in `READERS`."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.errors import DataError

Columns = dict[str, Any]
Origin = tuple[str, Columns]
"""A row with its origin: `file.jsonl:17`, or `file.parquet row 17` where there are no lines."""
Keep = npt.NDArray[np.bool_]

BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Table(Protocol):
    """The rows of one file. Reading them twice gives the same rows in the same order."""

    def count(self) -> int:
        """Number of rows, found without building them where the format allows it."""
        ...

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        """The rows, or those that `keep` (bool `[count]`) picks. Raises `DataError` where one is broken."""
        ...


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line; blank lines are skipped."""

    path: Path
    name: str

    def count(self) -> int:
        return sum(1 for _ in self.lines())

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for index, (number, offset, line) in enumerate(self.lines()):
            if keep is not None and not keep[index]:
                continue
            where = f"{self.name}:{number}"
            yield where, row_of(parse_line(line, where, offset), where)

    def lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Line number from 1, byte offset, bytes."""
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                body = line.removeprefix(BOM) if number == 1 else line
                if not body.isspace() and body:
                    yield number, offset + len(line) - len(body), body
                offset += len(line)


@dataclass(frozen=True)
class JsonArray:
    """A JSON array of objects, or an object that holds exactly one; held in memory whole."""

    items: list[Any]
    name: str

    def count(self) -> int:
        return len(self.items)

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for index, item in enumerate(self.items):
            if keep is None or keep[index]:
                where = f"{self.name} row {index + 1}"
                yield where, row_of(item, where)


@dataclass(frozen=True)
class Csv:
    """A header line and records; commas, semicolons or tabs, whichever the header has most of."""

    path: Path
    name: str

    def count(self) -> int:
        return sum(1 for _ in self.rows())

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        csv.field_size_limit(sys.maxsize)  # the default, 128 KiB a field, is less than a long document
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter(), strict=True)
            header = self.header(next(reader, []))
            for index, (number, record) in enumerate(self._records(reader)):
                if keep is None or keep[index]:
                    yield f"{self.name}:{number}", self.columns(header, record, number)

    def delimiter(self) -> str:
        """What parts the fields of the header."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return max(",;\t", key=file.readline().count)

    def header(self, record: list[str]) -> list[str]:
        """The columns' names, from the first record. Raises `DataError` where they name nothing, or one twice."""
        names = [name.strip() for name in record]
        if len(set(names)) < len(names) or not all(names):
            raise DataError(
                f"{self.name}:1: the header has an empty or repeated column name: {', '.join(names)}",
                "The first line names the columns, each once.",
            )
        return names

    def _records(self, reader: Any) -> Iterator[tuple[int, list[str]]]:
        """The line on which each record starts, and its fields; a quoted field may span lines."""
        while True:
            number = reader.line_num + 1
            try:
                record = next(reader, None)
            except csv.Error as error:
                raise self.broken(number, error) from error
            if record is None:
                return
            if record:
                yield number, record

    def broken(self, number: int, error: csv.Error) -> DataError:
        """What to say of a record that is no CSV."""
        return DataError(
            f"{self.name}:{number}: not valid CSV: {error}", "Look for a quote that is never closed."
        )

    def columns(self, header: list[str], record: list[str], number: int) -> Columns:
        """A record's fields by column. Raises `DataError` where there are too many or too few."""
        if len(record) != len(header):
            raise DataError(
                f"{self.name}:{number}: {len(record)} fields where the header names {len(header)} columns",
                "Put fields that contain the separator or a line break in double quotes.",
            )
        return dict(zip(header, record, strict=True))


@dataclass(frozen=True)
class Parquet:
    """A Parquet file, read a thousand rows at a time."""

    path: Path
    name: str

    def count(self) -> int:
        with self.open() as file:
            return int(file.metadata.num_rows)

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        index = 0
        with self.open() as file:
            for batch in file.iter_batches(batch_size=1000):
                for columns in batch.to_pylist():
                    if keep is None or keep[index]:
                        yield f"{self.name} row {index + 1}", columns
                    index += 1

    def open(self) -> Any:
        """The file. Raises `DataError` where it is no Parquet."""
        import pyarrow.lib
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except (pyarrow.lib.ArrowInvalid, OSError) as error:
            raise DataError(
                f"{self.name}: not a Parquet file: {error}", "Write it again, or convert it to JSONL."
            ) from error


def read_json(path: Path, name: str) -> Table:
    """A .json file: an array, an object holding one, or (often misnamed so) one object a line."""
    text = _decode(path.read_bytes(), name)
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        if _is_object(text.lstrip().partition("\n")[0]):
            return JsonLines(path, name)
        raise DataError(
            f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}",
            "Mend the file at this line and column.",
        ) from error
    except RecursionError as error:
        raise DataError(f"{name}: the JSON is nested too deeply", "Rows are flat objects.") from error
    if isinstance(body, dict):
        return JsonArray(_only_array(body, name), name)
    if not isinstance(body, list):
        raise DataError(
            f"{name}: holds {_kind(body)}, not rows", "A .json file is an array of objects, one a row."
        )
    return JsonArray(body, name)


def read_jsonl(path: Path, name: str) -> Table:
    """A .jsonl file: one object a line."""
    return JsonLines(path, name)


def read_csv(path: Path, name: str) -> Table:
    """A .csv file with a header. All of it is checked to be UTF-8 first, so that errors have an offset."""
    _check_utf8(path, name)
    return Csv(path, name)


def read_parquet(path: Path, name: str) -> Table:
    """A .parquet file."""
    return Parquet(path, name)


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
"""Readers by suffix: a new kind of file enters here."""


def parse_line(line: bytes, where: str, offset: int) -> Any:
    """The value on one line of JSON; `offset` is the byte at which it starts. Raises `DataError`."""
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise not_utf8(where, offset + error.start, line) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}:{error.colno}: not valid JSON: {error.msg}",
            "Every line is one whole JSON object; a .json file may hold an array instead.",
        ) from error
    except RecursionError as error:
        raise DataError(f"{where}: the JSON is nested too deeply", "Rows are flat objects.") from error


def row_of(value: Any, where: str) -> Columns:
    """The columns of a parsed row. Raises `DataError` where it is no object."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: {_kind(value)} where a row is expected", "A row is a JSON object: {…}.")
    return value


def _only_array(body: Columns, name: str) -> list[Any]:
    arrays = [
        key for key, value in body.items() if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    if len(arrays) == 1:
        return list(body[arrays[0]])
    found = f"several arrays ({', '.join(arrays)})" if arrays else "no array of objects"
    raise DataError(
        f"{name}: the object holds {found}", "A .json file is an array of objects, or holds exactly one."
    )


def _decode(data: bytes, name: str) -> str:
    try:
        return data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        start = error.start + (len(BOM) if data.startswith(BOM) else 0)
        line = data.count(b"\n", 0, start) + 1
        raise not_utf8(f"{name}:{line}", start, data[:4096]) from error


def _check_utf8(path: Path, name: str) -> None:
    offset, number = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(f"{name}:{number}", offset + error.start, line) from error
            offset += len(line)


def not_utf8(where: str, offset: int, data: bytes) -> DataError:
    """What to say of bytes that are not UTF-8, by what they seem to be."""
    if data.startswith(UTF16):
        return DataError(f"{where}: the file is UTF-16, not UTF-8", "Save it as UTF-8.")
    if b"\0" in data:
        return DataError(
            f"{where}: byte {offset} is not text: the file is binary", "Check that this is the right file."
        )
    return DataError(
        f"{where}: byte {offset} is not UTF-8",
        "Save the file as UTF-8, for example with `iconv -f latin1 -t utf-8`.",
    )


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
