"""Views of one row: its tokens example by example, its first words, or the row as it stands in the file."""

from engine.data.preview.encoded_rows import EncodedRow
from engine.data.preview.token_text import token_texts_of
from engine.data.preview.values import SHOWN, RowView
from engine.data.readers.random_access import Rows
from engine.data.tokenization.token_limits import Limit
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import DataError

BRIEF = 160
"""Characters of a row's first words."""


def row_view(rows: Rows, each: EncodedRow, tokenizer: Tokenizer, limit: Limit, brief: bool) -> RowView:
    """A row with its tokens, or only their counts and its first words."""
    shown = raw_view(rows, each.number)
    if not each.examples:
        raw = shown.raw[:BRIEF] if brief else shown.raw
        return RowView(each.number, shown.where, problem=each.problem, raw=raw)
    left = each.trained_within(limit.tokens)
    return RowView(
        row=each.number,
        where=shown.where,
        pieces=() if brief else tuple(token_texts_of(each.examples, tokenizer, limit.tokens)),
        tokens=each.tokens,
        trained=left,
        limit=limit.tokens,
        lost=each.trained - left,
        hidden=max(0, each.tokens - SHOWN),
        problem="" if left else nothing_left(limit),
        raw=_first_words(rows, each.number) if brief else "",
        examples=len(each.examples),
        sides=tuple(_side(example.sign, len(each.examples)) for example in each.examples if example.sign),
        unseen=each.unseen,
        unused="; ".join(each.whole[0][1].unused) if each.whole else "",
        unread=each.unread,
    )


def _side(sign: int, examples: int) -> str:
    names = ("chosen", "rejected") if examples > 1 else ("good", "bad")
    return names[0] if sign > 0 else names[1]


def raw_view(rows: Rows, number: int) -> RowView:
    """A row as it stands in the file."""
    try:
        where = rows.read(number)[0]
    except DataError as error:
        where = error.message.partition(": ")[0]
    text = rows.raw(number)
    return RowView(number, where, raw=text[:SHOWN], hidden=max(0, len(text) - SHOWN))


def _first_words(rows: Rows, number: int) -> str:
    """The first text of a row that somebody would know it by: its question, rather than its system message."""
    columns = rows.read(number)[1]
    known = ("messages", "conversations", "instruction", "prompt", "text", "chosen")
    for name in (*known, *columns):
        value = columns.get(name)
        if isinstance(value, str) and value.strip():
            return _flat(value)
        if isinstance(value, list):
            turns = [turn for turn in value if isinstance(turn, dict)]
            asked = [turn for turn in turns if turn.get("role", turn.get("from")) in ("user", "human")]
            for turn in asked or turns:
                return _flat(str(turn.get("content", turn.get("value", ""))))
    return ""


def _flat(text: str) -> str:
    return " ".join(text[: 4 * BRIEF].split())[:BRIEF]


def nothing_left(limit: Limit) -> str:
    """Problem of a row that is cut before everything that would be trained."""
    return f"nothing trained is left of it once it is cut to {limit.name}"
