"""Search for words in rows: a file of lines is searched in blocks, without parsing its rows."""

import json
from collections.abc import Callable

from engine.data.readers.concatenated import JoinedRows
from engine.data.readers.offsets import IndexedRows
from engine.data.readers.random_access import BatchRows, DocumentRows, Rows

BLOCK = 1 << 22
PARTS = 1000
"""Rows that are searched one by one between two checks for cancellation."""

Stopped = Callable[[], bool]


def find_row(rows: Rows, words: str, start: int, stopped: Stopped) -> int | None:
    """The first row, from `start` on and then from the first, that holds the words as it stands in the file.

    Case does not matter for letters of ASCII. None where no row that is counted does, or where it was stopped.
    """
    spellings = _spellings(words)
    start = max(0, min(start, rows.known))
    found = _look(rows, spellings, start, rows.known, stopped)
    return _look(rows, spellings, 0, start, stopped) if found is None else found


def _look(rows: Rows, spellings: list[bytes], first: int, last: int, stopped: Stopped) -> int | None:
    if not isinstance(rows, JoinedRows):
        look = _in_blocks if isinstance(rows, IndexedRows) else _one_by_one
        return look(rows, spellings, first, last, stopped)
    for start, part in rows.parts():
        here, end = max(first - start, 0), min(last - start, part.known)
        if here < end and (found := _look(part, spellings, here, end, stopped)) is not None:
            return start + found
        if stopped():
            return None
    return None


def _spellings(words: str) -> list[bytes]:
    """The words in lower case, as text, CSV and JSON may write them."""
    escaped = (json.dumps(words, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))
    written = [words, words.replace('"', '""'), *escaped]
    return list(dict.fromkeys(text.encode(errors="replace").lower() for text in written))


def _in_blocks(rows: Rows, spellings: list[bytes], first: int, last: int, stopped: Stopped) -> int | None:
    assert isinstance(rows, IndexedRows)
    at, end = rows.byte(first), rows.byte(last)
    more = max(map(len, spellings)) - 1  # words may lie on a border of blocks
    with rows.path.open("rb") as file:
        while at < end and not stopped():
            file.seek(at)
            block = file.read(min(BLOCK + more, end - at)).lower()
            places = [place for words in spellings if (place := block.find(words)) >= 0]
            if places:
                return rows.row_at(at + min(places))
            at += BLOCK
    return None


def _one_by_one(rows: Rows, spellings: list[bytes], first: int, last: int, stopped: Stopped) -> int | None:
    assert isinstance(rows, DocumentRows | BatchRows)
    for number, text in rows.texts(first, last):
        if not number % PARTS and stopped():
            return None
        data = text.encode(errors="replace").lower()
        if any(words in data for words in spellings):
            return number
    return None
