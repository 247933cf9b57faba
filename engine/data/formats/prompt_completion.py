"""A question and an answer in two columns, each text or messages."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.data.formats.base import RowError, RowFormat, is_null, kind, parsed, text_of
from engine.data.formats.content_parts import in_lists
from engine.data.formats.messages import conversation, messages_of
from engine.data.readers.table import Columns
from engine.data.types import Conversation, Message, Row, Text

_OPENS_A_LIST = re.compile(r"\s*\[\s*\{")
_PYTHONS = re.compile(r"\s*\[\s*\{\s*'(?:role|from|content|value)'\s*:")


def answered(columns: Columns, where: str, prompt: str = "prompt", answer: str = "completion") -> Row:
    """Read a prompt and an answer from two columns, each text or messages. Raises `RowError`.

    Two texts stay text, without a chat template, unless the row has a column `system` or tools.
    """
    given, reply = listed_turns(columns[prompt], prompt), listed_turns(columns[answer], answer)
    for name, value in ((prompt, given), (answer, reply)):
        if not isinstance(value, str | list):
            raise RowError(f"`{name}` is {kind(value)} where text or a list of messages is expected")
    if isinstance(given, str) and isinstance(reply, str):
        said, back = text_of(given, prompt), text_of(reply, answer)
        if "system" not in columns and is_null(columns.get("tools")) and is_null(columns.get("functions")):
            return Text(said, back, where)
    return conversation(
        columns,
        (*context(turns_of(given, "user", prompt)), *turns_of(reply, "assistant", answer)),
        where,
    )


def turns_of(value: str | list[Any], role: str, column: str) -> tuple[Message, ...]:
    """Messages, or a text as one message of `role`."""
    return messages_of([{"role": role, "content": value}] if isinstance(value, str) else value, column)


def context(turns: Sequence[Message]) -> list[Message]:
    """Turns of a prompt, in which no assistant's turn is trained."""
    return [replace(turn, trained=False) if turn.role == "assistant" else turn for turn in turns]


def last_answer(row: Conversation) -> Conversation:
    """Conversation of which only the answer to the last question is trained."""
    roles = [message.role for message in row.messages]
    last = len(roles) - 1 - roles[::-1].index("assistant") if "assistant" in roles else 0
    asked = last - roles[:last][::-1].index("user") if "user" in roles[:last] else 0
    return replace(row, messages=(*context(row.messages[:asked]), *row.messages[asked:]))


def listed_turns(value: Any, column: str) -> Any:
    """Messages as a list, also those in a text as JSON, as in CSV, and in lists by key; one message is a list of one.

    Any other text is text, though it may begin with a bracket. Raises `RowError` for messages that Python has written
    where JSON was meant, and for lists of different lengths.
    """
    if isinstance(value, str) and _OPENS_A_LIST.match(value):
        value = parsed(value, column, "[") if _PYTHONS.match(value) else _in_a_text(value)
    if not isinstance(value, dict) or not {"role", "from"} & value.keys():
        return value
    by_key = isinstance(value.get("role", value.get("from")), list)
    return list(in_lists(value, "messages")) if by_key else [value]


def _in_a_text(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if all(isinstance(turn, dict) and {"role", "from"} & set(turn) for turn in found) else text


FORMAT = RowFormat(
    "prompt_completion",
    ("prompt", "completion"),
    answered,
    uses=frozenset({"system", "tools", "functions"}),
)
