"""One row for people: its tokens example by example, or its first words, or as it stands in the file."""

from dataclasses import dataclass

from engine.data.lint.linter import LintedRow
from engine.data.preview.token_text import token_texts_of
from engine.data.preview.values import SHOWN, RowView
from engine.data.readers.random_access import Rows
from engine.data.tokenization.row_encoder import Encoded
from engine.data.tokenization.token_limits import Limit
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import DataError

BRIEF = 160
"""Characters of a row's first words."""


@dataclass(frozen=True)
class EncodedRow:
    """A row's number from 0, the tokens of its examples, and what is wrong with it where it has none."""

    number: int
    examples: tuple[Encoded, ...]
    problem: str = ""
    unseen: str = ""
    whole: tuple[LintedRow, ...] = ()
    """The row with its examples before any is parted, as the lint sees it."""
    unread: int = 0
    """Characters at the end of a long text that were not tokenised."""
    left_out: bool = False
    """Whether it has no tokens because nothing of it is to be trained, and not because it is wrong."""

    def kept(self, limit: int) -> int:
        """Trained tokens before the limit."""
        return sum(_left(example, limit) for example in self.examples)

    @property
    def trained(self) -> int:
        return sum(example.trained for example in self.examples)

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for example in self.examples)


def row_view(rows: Rows, each: EncodedRow, tokenizer: Tokenizer, limit: Limit, brief: bool) -> RowView:
    """A row with its tokens, or only their counts and its first words."""
    shown = raw_view(rows, each.number)
    if not each.examples:
        raw = shown.raw[:BRIEF] if brief else shown.raw
        return RowView(each.number, shown.where, problem=each.problem, raw=raw)
    left = each.kept(limit.tokens)
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
        unseen=each.unseen,
        unused="; ".join(each.whole[0][1].unused) if each.whole else "",
        unread=each.unread,
    )


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


def _left(encoded: Encoded, limit: int) -> int:
    """Trained tokens before the limit."""
    return sum(max(0, min(end, limit) - start) for start, end in encoded.spans)


def nothing_left(limit: Limit) -> str:
    """What is wrong with a row that is cut before all that would be trained."""
    return f"nothing trained is left of it once it is cut to {limit.name}"
