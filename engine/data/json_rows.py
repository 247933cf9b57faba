"""Rows of JSON: one object a line, or an array of objects."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.rows import BOM, Columns, Keep, Origin, Table, not_utf8
from engine.errors import DataError


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


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
