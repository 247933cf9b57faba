"""What a form of rows is, and the words for what is wrong with a value in one."""

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
"""Reasons for which rows are left out, as they are counted."""


SYSTEM = ("system_prompt", "system_message", "instructions")
"""Other names of the column `system`."""
CHANGING = frozenset(
    {"system", "tools", "functions", "history", "input", "context", "label", "kto_tag", *SYSTEM}
    | {"weight", "loss_weight", "sample_weight", "loss_mask", *REASONING, *MEDIA}
)
"""Columns that change what a row means: where a format does not read one, that is said."""


class RowError(Exception):
    """What is wrong with one row, and its kind; the caller knows where the row is.

    `fix` is the one thing to do about it, as a sentence, where that is known.
    """

    def __init__(self, message: str, reason: str = "malformed", *, fix: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.fix = fix


def _any(columns: Columns) -> bool:
    return True


@dataclass(frozen=True)
class RowFormat:
    """A format of rows: the columns it needs, and how a row is read.

    Another package brings one by an entry point of the group `ft.formats` that names such an object. `read(columns,
    where)` raises `RowError` for a row that cannot be used.
    """

    name: str
    needs: tuple[str, ...]
    read: Callable[[Columns, str], Sample]
    is_told: Callable[[Columns], bool | None] = _any
    """Whether the values of a row that has the columns speak for this format (True), against it (False), or neither
    way (None)."""
    note: str = ""
    """What becomes of its rows, where that is not plain from its name."""
    others: tuple[tuple[str, ...], ...] = ()
    """Other sets of columns that it reads as well as `needs`."""
    uses: frozenset[str] | None = None
    """Columns that it also reads where they are there; None where that is not known, and nothing is said of others."""

    @cached_property
    def unread(self) -> frozenset[str]:
        """The columns among `CHANGING` that it does not read."""
        return frozenset() if self.uses is None else CHANGING - self.uses

    @cached_property
    def known(self) -> frozenset[str]:
        """The columns that it needs or uses."""
        return frozenset((self.uses or frozenset()).union(self.needs, *self.others))

    def reads(self, column: str) -> bool:
        """Whether a column is among those that it needs or uses."""
        return column in self.known

    def found(self, columns: Columns) -> tuple[str, ...]:
        """Which of its sets of columns a row has; empty where it has none."""
        return next((names for names in (self.needs, *self.others) if columns.keys() >= set(names)), ())

    def has_columns(self, columns: Columns) -> bool:
        if all(name in columns for name in self.needs):
            return True
        return any(all(name in columns for name in names) for names in self.others)

    def fits(self, columns: Columns) -> bool:
        return self.has_columns(columns) and bool(self.is_told(columns))


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
        raise RowError(f"`{column}` looks like JSON but is not: {error}", fix=_written_by(value)) from error


_PYTHON = re.compile(r"[\[{(,:]\s*(?:'|None\b|True\b|False\b|array\()")


def _written_by(text: str) -> str:
    """What to do about a text that Python has written where JSON was meant; empty where it was not."""
    if not _PYTHON.search(text[:1000]):
        return ""
    return (
        "Python's str() seems to have written this list, as pandas does into CSV: write the rows again with "
        "df.to_json('rows.jsonl', orient='records', lines=True)"
    )


def is_null(value: Any) -> bool:
    """Whether a value that may be left out says nothing: null, NaN (pandas' null), the words for them, or empty."""
    if value is None:
        return True
    if isinstance(value, str):
        return len(value) <= 4 and value.strip().lower() in ("", "null", "none", "nan", "[]", "{}")
    if isinstance(value, list | dict):
        return not value
    return isinstance(value, float) and value != value


def kind(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else json.dumps(value, default=lambda other: type(other).__name__)


def listed(names: Iterable[object]) -> str:
    """Names of columns or keys, for people."""
    return text.listed((f"`{name}`" for name in names), most=20) or "no columns"
