"""What a form of rows is, and the words for what is wrong with a value in one."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from engine.data.rows import Columns
from engine.data.types import Sample

NOTHING, COLUMNS, REFUSED = (
    "with nothing to train",
    "with other columns",
    "that the chat template does not take",
)
"""Reasons for which rows are left out, as they are counted."""


class RowError(Exception):
    """What is wrong with one row, and its kind; the caller knows where the row is."""

    def __init__(self, message: str, reason: str = "malformed") -> None:
        super().__init__(message)
        self.reason = reason


def _any(columns: Columns) -> bool:
    return True


@dataclass(frozen=True)
class Form:
    """A form of rows: the columns it needs, and how a row is read.

    Another package brings one by an entry point of the group `ft.formats` that names such an object. `read(columns,
    where)` raises `RowError` for a row that cannot be used.
    """

    name: str
    needs: tuple[str, ...]
    read: Callable[[Columns, str], Sample]
    is_told: Callable[[Columns], bool] = _any
    """Whether a row that has the columns is of this form, where their names alone do not tell it."""
    note: str = ""
    """What becomes of its rows, where that is not plain from its name."""

    def has_columns(self, columns: Columns) -> bool:
        return all(name in columns for name in self.needs)

    def fits(self, columns: Columns) -> bool:
        return self.has_columns(columns) and self.is_told(columns)


def text_of(value: Any, place: str) -> str:
    """A value that has to be text. Raises `RowError`."""
    if not isinstance(value, str):
        raise RowError(f"`{place}` is {kind(value)} where text is expected")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowError(
            f"`{place}` has half of a surrogate pair (\\u{ord(value[error.start]):04x})"
        ) from error
    return value


def sound(value: Any, place: str) -> Any:
    """A list or an object, once all text in it can be written. Raises `RowError`."""
    try:
        text_of(json.dumps(value, ensure_ascii=False), place)
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError(f"`{place}` is no JSON: {error}") from error
    return value


def parsed(value: Any, column: str, opening: str) -> Any:
    """A list or an object that stands as JSON in a text, as in CSV; any other value as it is. Raises `RowError`."""
    if not isinstance(value, str) or not value.lstrip().startswith(tuple(opening)):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RowError(f"`{column}` looks like JSON but is not: {error}") from error


def kind(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else json.dumps(value, default=lambda other: type(other).__name__)


def listed(names: Iterable[object]) -> str:
    """Names of columns or keys, for people."""
    return ", ".join(f"`{name}`" for name in names) or "no columns"
