"""Row formats: the columns that one needs and how a row is read, and errors in a row's values."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine import text
from engine.data.readers.table import Columns
from engine.data.types import MEDIA, REASONING, Sample

NOTHING, COLUMNS, REFUSED = (
    "with nothing to train",
    "with other columns",
    "that the chat template does not take",
)
"""Reasons for leaving out a row, as they are counted."""


SYSTEM = ("system_prompt", "system_message", "instructions")
"""Other names of the column `system`."""
CHANGING = frozenset(
    {"system", "tools", "functions", "history", "input", "context", "label", "kto_tag", *SYSTEM}
    | {"weight", "loss_weight", "sample_weight", "loss_mask", *REASONING, *MEDIA}
)
"""Columns that change what a row means: one that a format does not read is reported."""


class RowError(Exception):
    """A row that cannot be used; the caller knows where it is. `reason` groups such rows when they are counted.

    `fix` is a sentence that says what to do, where there is one thing to do.
    """

    def __init__(self, message: str, reason: str = "malformed", *, fix: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.fix = fix


def _any(columns: Columns) -> bool:
    return True


@dataclass(frozen=True)
class RowFormat:
    """Format of rows: the columns that it needs, and how a row is read.

    Other packages add one by an entry point of the group `ft.formats` that names such an object. `read(columns,
    where)` raises `RowError` for a row that cannot be used.
    """

    name: str
    needs: tuple[str, ...]
    read: Callable[[Columns, str], Sample]
    recognise: Callable[[Columns], bool | None] = _any
    """Judges a row that has the columns by its values: True is evidence for this format, False against it, None is
    neither."""
    note: str = ""
    """Treatment of its rows in supervised fine-tuning, where the name does not say it."""
    others: tuple[tuple[str, ...], ...] = ()
    """Sets of columns that do instead of `needs`."""
    uses: frozenset[str] | None = None
    """Optional columns that it reads; None where that is not known: then no column is reported as unused."""

    @cached_property
    def unread(self) -> frozenset[str]:
        """The columns among `CHANGING` that it does not read."""
        return frozenset() if self.uses is None else CHANGING - self.uses

    @cached_property
    def known(self) -> frozenset[str]:
        """The columns that it needs or uses."""
        return frozenset((self.uses or frozenset()).union(self.needs, *self.others))

    def reads(self, column: str) -> bool:
        """Return True for a column that it needs or uses."""
        return column in self.known

    def columns_in(self, columns: Columns) -> tuple[str, ...]:
        """The first of its sets of columns that a row has; empty if it has none."""
        return next((names for names in (self.needs, *self.others) if columns.keys() >= set(names)), ())

    def has_columns(self, columns: Columns) -> bool:
        """Return True if a row has all columns of one of its sets."""
        if all(name in columns for name in self.needs):
            return True
        return any(all(name in columns for name in names) for names in self.others)

    def fits(self, columns: Columns) -> bool:
        """Return True if a row has the columns and its values are evidence for this format."""
        return self.has_columns(columns) and bool(self.recognise(columns))


def text_of(value: Any, place: str) -> str:
    """Return a value that must be text. Raises `RowError`."""
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
    """Return a list or an object after checking that it can be written as JSON. Raises `RowError`."""
    try:
        text_of(json.dumps(value, ensure_ascii=False), place)
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError(f"`{place}` is not JSON: {error}") from error
    return value


def parsed(value: Any, column: str, opening: str) -> Any:
    """Parse a list or an object that a text holds as JSON, as in CSV; return any other value as it is.

    Raises `RowError`.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(tuple(opening)):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RowError(f"`{column}` looks like JSON but is not: {error}", fix=_written_by(value)) from error


_PYTHON = re.compile(r"[\[{(,:]\s*(?:'|None\b|True\b|False\b|array\()")


def _written_by(text: str) -> str:
    """Advice for a text in Python's notation where JSON was meant; empty for any other."""
    if not _PYTHON.search(text[:1000]):
        return ""
    return (
        "Python's str() seems to have written this list, as pandas does into CSV: write the rows again with "
        "df.to_json('rows.jsonl', orient='records', lines=True)"
    )


def is_null(value: Any) -> bool:
    """Return True for null, NaN (pandas' null), the words for them, and empty values."""
    if value is None:
        return True
    if isinstance(value, str):
        return len(value) <= 4 and value.strip().lower() in ("", "null", "none", "nan", "[]", "{}")
    if isinstance(value, list | dict):
        return not value
    return isinstance(value, float) and value != value


def kind(value: Any) -> str:
    """Describe a value by its type, or by itself if it is short."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else json.dumps(value, default=lambda other: type(other).__name__)


def listed(names: Iterable[object]) -> str:
    """List names of columns or keys in a message."""
    return text.listed((f"`{name}`" for name in names), most=20) or "no columns"
