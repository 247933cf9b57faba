"""Prompts of validation rows and their answers in the file, for metrics that need a generated answer."""

from collections.abc import Mapping
from typing import Any

from engine.data.samples import read_row
from engine.data.selection import Selection
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.types import Conversation, Question, Row


def questions(selection: Selection, encoder: RowEncoder, limit: int) -> tuple[Question, ...]:
    """One question of each selected row: its last prompt, where that leaves room within `limit` tokens."""
    found = (
        question(row, encoder, limit)
        for row_format, chunk in selection.chunks()
        for where, columns in chunk
        if (row := read_row(columns, where, row_format, encoder.train_on)) is not None
    )
    return tuple(each for each in found if each is not None)


def question(row: Row, encoder: RowEncoder, limit: int) -> Question | None:
    """The row's last prompt and its answer; None where it has no prompt, or one that fills the limit.

    An answer may be calls of tools alone; its text is empty then.
    """
    calls: tuple[Mapping[str, Any], ...] = ()
    if isinstance(row, Conversation):
        at = max((i for i, message in enumerate(row.messages) if message.answers), default=0)
        answer, calls = row.messages[at].content, tuple((row.messages[at].more or {}).get("tool_calls", ()))
        if not at or not (answer or calls):
            return None
        ids = encoder.tokenizer.prompt_ids(row.messages[:at], row.tools)
        asked = row.messages[at - 1].content
    else:
        if not row.prompt:
            return None
        ids, answer, asked = encoder.tokenizer.encode([row.prompt])[0], row.completion, row.prompt
    return Question(tuple(ids), answer, row.where, calls, asked) if len(ids) < limit else None
