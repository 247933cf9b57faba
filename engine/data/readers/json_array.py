"""Rows of .json files: an array of objects, or an object that holds exactly one array of them; never held whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.data.readers.json_stream import JsonWindow
from engine.data.readers.jsonl import JsonLines, kind_of, row_of
from engine.data.readers.table import Keep, Origin, Table
from engine.errors import DataError

Place = tuple[int, int]
"""Byte offset, and line from 1."""


@dataclass(frozen=True)
class JsonArray:
    """The items of an array; `key` is where it stands in an object, None where it is the whole file."""

    path: Path
    name: str
    key: str | None = None

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self.items())

    def count(self) -> int:
        return self._count

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for index, (_, item) in enumerate(self.items()):
            if keep is None or keep[index]:
                where = f"{self.name} row {index + 1}"
                yield where, row_of(item, where)

    def broken(self) -> Iterator[tuple[int, DataError]]:
        for index, (_, item) in enumerate(self.items()):
            if not isinstance(item, dict):
                where = f"{self.name} row {index + 1}"
                yield index, DataError(f"{where}: {kind_of(item)} where a row is expected")

    def items(self) -> Iterator[tuple[Place, Any]]:
        """Place and value of each item. Text behind the array is an error where the array is the whole file."""
        with JsonWindow(self.path, self.name) as window:
            if self.key is None:
                yield from _items(window)
                if window.peek():
                    raise window.error("Extra data")
                return
            for key in _keys(window):
                if key == self.key and window.peek() == "[":
                    yield from _items(window)
                    return
                window.value()


def read_json(path: Path, name: str) -> Table:
    """A .json file: an array, an object holding one, or (often misnamed so) one object a line."""
    with JsonWindow(path, name) as window:
        first = window.peek()
        if first == "[":
            return JsonArray(path, name)
        if first != "{":
            what = kind_of(window.value())
            raise DataError(
                f"{name}: holds {what}, not rows", "A .json file is an array of objects, one a row."
            )
        arrays = list(_arrays(window))
        if window.peek() == "{":
            return JsonLines(path, name)
        if window.peek():
            raise window.error("Extra data")
    if len(arrays) == 1:
        return JsonArray(path, name, arrays[0])
    found = f"several arrays ({', '.join(arrays)})" if arrays else "no array of objects"
    raise DataError(
        f"{name}: the object holds {found}", "A .json file is an array of objects, or holds exactly one."
    )


def _arrays(window: JsonWindow) -> Iterator[str]:
    """The keys of an object whose values are arrays that start with an object."""
    for key in _keys(window):
        if window.peek() != "[":
            window.value()
            continue
        first = next(items := _items(window), None)
        for _ in items:
            """Step over it."""
        if first is not None and isinstance(first[1], dict):
            yield key


def _keys(window: JsonWindow) -> Iterator[str]:
    """The keys of the object that starts here; after each, the caller has to read its value."""
    window.take("{", "Expecting value")
    if window.peek() == "}":
        window.take("}", "")
        return
    while True:
        if window.peek() != '"':
            raise window.error("Expecting property name enclosed in double quotes")
        key = window.value()
        window.take(":", "Expecting ':' delimiter")
        yield key
        if window.take(",}", "Expecting ',' delimiter") == "}":
            return


def _items(window: JsonWindow) -> Iterator[tuple[Place, Any]]:
    """The items of the array that starts here, each with its place."""
    window.take("[", "Expecting value")
    if window.peek() == "]":
        window.take("]", "")
        return
    while True:
        window.peek()
        place = window.place
        yield place, window.value()
        if window.take(",]", "Expecting ',' delimiter") == "]":
            return
