"""A message's content where it is a list of parts: text, thoughts, calls of tools and their results."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.data.formats.base import RowError, kind, parsed, sound, text_of
from engine.data.formats.tool_calls import call_of, written_calls
from engine.data.types import Message

_TEXT = {
    "text": ("text", "value"),
    "input_text": ("text",),
    "output_text": ("text",),
    "refusal": ("refusal",),
}
_THOUGHTS = {"thinking": ("thinking", "text"), "reasoning": ("reasoning", "text", "value")}
_CALLS = ("tool_use", "tool_call")
_RESULT = "tool_result"
"""Types of parts (OpenAI's, Anthropic's, LLaMA-Factory's), and the keys under which they have their text."""
_NO_TEXT = re.compile(r"(input_)?(image|video|audio|file|document)(_url)?")
"""Types of parts that ft cannot train."""


@dataclass
class Content:
    """Content of the parts of a message."""

    text: str = ""
    thoughts: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)
    """Results of tools that Anthropic puts into the user's message."""


def content_of(value: Any, place: str) -> Content:
    """Read a content that is text, or a list of parts. Raises `RowError`.

    Templates show thoughts, text and calls in this order; parts in another are refused.
    """
    if not isinstance(value, list):
        return Content(text_of(value, place))
    found = Content()
    for part in value:
        _add(found, part, place)
    return found


def _add(found: Content, part: Any, place: str) -> None:
    type_ = _type(part)
    if type_ in _TEXT:
        _in_order(not found.calls, "text behind a call", place)
        found.text += _said(part, _TEXT[type_], place)
    elif type_ in _THOUGHTS:
        _in_order(not (found.text or found.calls), "thoughts behind its text", place)
        found.thoughts += _said(part, _THOUGHTS[type_], place)
    elif type_ in _CALLS:
        written = part.get("value")
        found.calls += [call_of(part, place)] if written is None else written_calls(written, place)[1]
    elif type_ == _RESULT:
        _in_order(not found.text, "a tool's result behind its text", place)
        id_ = part.get("tool_use_id")
        more = None if id_ is None else {"tool_call_id": text_of(id_, f"{place}.tool_use_id")}
        found.results.append(Message("tool", result_of(part.get("content") or "", place), more=more))
    else:
        if not isinstance(part, dict):
            raise RowError(f"`{place}` has a part that is not an object: {kind(part)}")
        raise RowError(f"`{place}` has a part that is not text: {type_ or kind(part)}")


def _type(part: Any) -> str:
    """The type of a part; what has only a `text` is text. Empty where it has none."""
    if not isinstance(part, dict):
        return ""
    type_ = part.get("type")
    if type_ is None and isinstance(part.get("text"), str):
        return "text"
    return type_ if isinstance(type_, str) else ""


def _said(part: Mapping[str, Any], keys: tuple[str, ...], place: str) -> str:
    value = next((part[key] for key in keys if part.get(key) is not None), None)
    if isinstance(value, list):  # Mistral's thoughts are parts in turn
        return content_of(value, place).text
    return text_of(value, f"{place}.{keys[0]}")


def _in_order(fits: bool, what: str, place: str) -> None:
    if not fits:
        raise RowError(
            f"`{place}` has {what}, and chat templates would show it first",
            fix="Split the message into several, in the order in which the parts were written.",
        )


def result_of(value: Any, place: str) -> str:
    """Read a tool's result as text: text parts as they are, any other value as JSON. Raises `RowError`."""
    if isinstance(value, str) or value is None:
        return text_of(value, place)
    if isinstance(value, list) and value and all(map(_is_part, value)):
        return content_of(value, place).text
    return json.dumps(sound(value, place), ensure_ascii=False)


def _is_part(value: Any) -> bool:
    type_ = _type(value)
    return type_ in _TEXT or _NO_TEXT.fullmatch(type_) is not None


def in_lists(value: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
    """The turns of {"role": […], "content": […]}, as `datasets` gives a sequence of objects. Raises `RowError`."""
    lists = {key: parsed(each, f"{place}.{key}", "[") for key, each in value.items() if each is not None}
    if not lists or not all(isinstance(each, list) for each in lists.values()):
        raise RowError(f"`{place}` is an object where a list of messages is expected")
    if len({len(each) for each in lists.values()}) > 1:
        raise RowError(f"`{place}` has lists of different lengths, which make no messages")
    return (dict(zip(lists, turn, strict=True)) for turn in zip(*lists.values(), strict=True))
