"""Size limits of rows, and long texts in pieces: tokens take a hundred times the memory of their text."""

from collections.abc import Iterator

from engine.data.formats.base import RowError
from engine.data.template_sandbox import size_of
from engine.data.types import Row, Text

LONG = "that are too long"
"""Reason for leaving out such rows, as it is counted."""
MOST_CHARACTERS = 4_000_000
"""Most characters of a row unless `max_seq_length` allows more: several books, with up to a gigabyte of tokens."""
CHARACTERS_A_TOKEN = 64
"""Most characters of a row for each token of `max_seq_length`, if that is more: sixteen times what is trained."""
PIECE = 500_000
"""Characters of plain text that are encoded together."""


def check_size(row: Row, limit: int | None) -> None:
    """Raise `RowError` for a row that is far longer than the `limit` of tokens at which it is cut."""
    if limit is None:
        return
    most = max(MOST_CHARACTERS, CHARACTERS_A_TOKEN * limit)
    if (size := characters(row)) > most:
        raise RowError(
            f"{size:,} characters long; the most is {most:,} of a row that is cut at {limit:,} tokens",
            LONG,
            fix="Split it into several rows, or leave such rows out (data.on_error: skip in a recipe)",
        )


def characters(row: Row) -> int:
    """Characters of a row's texts together."""
    if isinstance(row, Text):
        return len(row.prompt) + len(row.completion)
    more = sum(size_of(message.more) for message in row.messages if message.more)
    return (
        sum(len(message.content) for message in row.messages)
        + more
        + (size_of(row.tools) if row.tools else 0)
    )


def split_text(text: str, most: int = PIECE) -> Iterator[str]:
    """A text in pieces of at most `most` characters that end where tokens end too: behind a blank line or a line break,
    else before a space; in a text without any, where the piece is full."""
    start = 0
    while len(text) - start > most:
        end = _seam(text, start + max(1, most // 2), start + most)
        yield text[start:end]
        start = end
    yield text[start:]


def _seam(text: str, first: int, last: int) -> int:
    for mark in ("\n\n", "\n"):
        at = text.rfind(mark, first, max(first, last - len(mark)))
        while at >= 0 and text[at + len(mark)].isspace():
            at = text.rfind(mark, first, at)
        if at >= 0:
            return at + len(mark)
    at = text.rfind(" ", first, last)
    return at if at >= 0 else last
