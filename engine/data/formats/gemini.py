"""Gemini's rows: `contents` of turns with `parts`, `systemInstruction` and `tools` beside them."""

import json
from typing import Any

from engine.data.formats.base import RowError, is_null, kind, listed, parsed
from engine.data.formats.messages import conversation, messages_of
from engine.data.readers.table import Columns
from engine.data.types import Conversation

SYSTEM = frozenset(("systemInstruction", "system_instruction"))
"""Columns that hold the system message, as a turn with parts, or as text."""


def conversation_of(columns: Columns, where: str) -> Conversation:
    """The row as any other conversation. Raises `RowError`."""
    contents = parsed(columns["contents"], "contents", "[")
    if not isinstance(contents, list):
        raise RowError(f"`contents` is {kind(contents)} where a list of turns is expected")
    turns: list[dict[str, Any]] = []
    for index, turn in enumerate(contents):
        turns += _turns(turn, f"contents[{index}]")
    made = dict(columns)
    for name in sorted(SYSTEM & columns.keys()):
        if not is_null(columns[name]):
            made["system"] = _system(columns[name], name)
    return conversation(made, messages_of(turns, "contents"), where)


def _system(value: Any, column: str) -> str:
    value = parsed(value, column, "{")
    return value if isinstance(value, str) else "".join(_texts(_parts(value, column), column, thoughts=False))


def _turns(turn: Any, place: str) -> list[dict[str, Any]]:
    """A turn as OpenAI would write it; results of functions are turns of their own."""
    parts = _parts(turn, place)
    made: list[dict[str, Any]] = [
        {
            "role": "tool",
            "name": part["functionResponse"].get("name"),
            "content": _result(part["functionResponse"]),
        }
        for part in parts
        if isinstance(part.get("functionResponse"), dict)
    ]
    calls = [part["functionCall"] for part in parts if isinstance(part.get("functionCall"), dict)]
    said = "".join(_texts(parts, place, thoughts=False))
    if made and not said and not calls:
        return made
    whole = {
        "role": turn.get("role") or "user",
        "content": said,
        "reasoning_content": "".join(_texts(parts, place, thoughts=True)) or None,
        "tool_calls": calls or None,
    }
    return [*made, {key: value for key, value in whole.items() if value is not None}]


def _result(answer: dict[str, Any]) -> str:
    response = answer.get("response")
    return response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)


def _parts(turn: Any, place: str) -> list[dict[str, Any]]:
    if not isinstance(turn, dict) or not isinstance(turn.get("parts"), list):
        found = listed(turn) if isinstance(turn, dict) else kind(turn)
        raise RowError(f"`{place}` has no list of `parts`, but {found}")
    for part in turn["parts"]:
        known = isinstance(part, dict) and any(
            part.get(key) is not None for key in ("text", "functionCall", "functionResponse")
        )
        if not known:
            name = listed(part) if isinstance(part, dict) else kind(part)
            raise RowError(f"`{place}` has a part that is not text: {name}")
    return list(turn["parts"])


def _texts(parts: list[dict[str, Any]], place: str, thoughts: bool) -> list[str]:
    """The texts of the parts that are thoughts, or of those that are not."""
    texts = [
        part["text"]
        for part in parts
        if part.get("text") is not None and bool(part.get("thought")) == thoughts
    ]
    if not all(isinstance(text, str) for text in texts):
        raise RowError(
            f"`{place}` has a text that is {kind(next(t for t in texts if not isinstance(t, str)))}"
        )
    return texts
