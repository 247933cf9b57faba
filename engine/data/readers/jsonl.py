"""Rows of JSON lines: one object a line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
class JsonLines:
    """One JSON object a line; blank lines are skipped."""

    path: Path
    name: str
    unit: str = ":"
    """Separator of the file's name and the number of a line."""

    def count(self) -> int:
        return sum(1 for _ in self.lines())

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for index, (number, offset, line, size) in enumerate(self.lines()):
            if keep is not None and not keep[index]:
                continue
            where = f"{self.name}{self.unit}{number}"
            yield where, row_of(parse_line(line, where, offset, size), where)

    def broken(self) -> Iterator[tuple[int, DataError]]:
        for index, (number, offset, line, size) in enumerate(self.lines()):
            where = f"{self.name}{self.unit}{number}"
            try:
                row_of(parse_line(line, where, offset, size), where)
            except DataError as error:
                yield index, error

    def lines(self) -> Iterator[tuple[int, int, bytes, int]]:
        """Line number from 1, byte offset, bytes, and how many those are in the file, as `bounded_lines`."""
        offset = 0
        with self.path.open("rb") as file:
            for number, (line, size) in enumerate(bounded_lines(file), start=1):
                body = line.removeprefix(BOM) if number == 1 else line
                if not body.isspace() and body:
                    yield number, offset + len(line) - len(body), body, size
                offset += size


def read_jsonl(path: Path, name: str) -> Table:
    """A .jsonl file: one object a line."""
    return JsonLines(path, name)


def read_rows(path: Path, name: str) -> Table:
    """JSON lines that were made of another file, of which a line is a row."""
    return JsonLines(path, name, " row ")


def parse_line(line: bytes, where: str, offset: int, size: int = 0) -> Any:
    """The value on one line of JSON; `offset` is the byte at which it starts, `size` how many bytes it has in the file.

    Raises `DataError`.
    """
    if size > ROW_BYTES:
        raise too_long(where)
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
        raise too_deep(where) from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{where}: not valid JSON: {error}", "Write such a number as text.") from error


def too_deep(where: str) -> DataError:
    """Error for JSON that is nested too deeply."""
    return DataError(f"{where}: the JSON is nested too deeply", "Rows are flat objects.")


def row_of(value: Any, where: str) -> Columns:
    """The columns of a parsed row. Raises `DataError` unless it is an object."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: {kind_of(value)} where a row is expected", "A row is a JSON object: {…}.")
    return value


def kind_of(value: Any) -> str:
    """Kind of a JSON value, in words."""
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
