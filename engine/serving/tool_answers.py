"""Calls of tools in what a model wrote: JSON objects with a function's name and its arguments, tagged or bare."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from engine.data.formats.base import RowError
from engine.data.formats.tool_calls import call_of

TAGS = (
    ("<tool_call>", "</tool_call>"),
    ("<|tool_call|>", "<|/tool_call|>"),
    ("<function_call>", "</function_call>"),
    ("<|python_tag|>", ""),
    ("[TOOL_CALLS]", ""),
    ("```json", "```"),
)
"""What families write around their calls; Qwen's and Hermes' is first, which ft's own templates write too."""
STARTS = (*(start for start, _ in TAGS), "{", "[")


@dataclass(frozen=True)
class Call:
    """A call: the function's name, and its arguments as JSON."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Said:
    """An answer taken apart: the text before its calls, and these."""

    text: str
    calls: tuple[Call, ...] = ()


def take_apart(answer: str, functions: Collection[str]) -> Said:
    """The calls of these functions that end an answer. What is no call of one of them stays text."""
    for start in sorted({at for tag in STARTS if (at := answer.find(tag)) >= 0}):
        calls = _calls(answer[start:], functions)
        if calls is not None:
            return Said(answer[:start].strip(), calls)
    return Said(answer)


def may_begin(text: str) -> int:
    """Place in a text from which on it may be calls; its length where it may not."""
    places = [at for tag in STARTS if (at := text.find(tag)) >= 0]
    for tag in STARTS:
        places += [len(text) - size for size in range(1, len(tag)) if text.endswith(tag[:size])]
    return min(places, default=len(text))


def _calls(text: str, functions: Collection[str]) -> tuple[Call, ...] | None:
    """The calls that all of a text is; None where it is something else too."""
    decoder = json.JSONDecoder()
    found: list[Call] = []
    ends = {""} | {end for _, end in TAGS}
    while text := _without_tags(text, ends):
        try:
            value, end = decoder.raw_decode(text)
            found += [_call(one, functions) for one in (value if isinstance(value, list) else [value])]
        except (ValueError, RecursionError, RowError):
            return None
        text = text[end:]
    return tuple(found) or None


def _without_tags(text: str, ends: Collection[str]) -> str:
    """The text behind blanks, tags and separators in front of it."""
    while True:
        text = re.sub(r"^[\s;,]+", "", text)
        tag = next(
            (tag for tag in (*(start for start, _ in TAGS), *ends) if tag and text.startswith(tag)), None
        )
        if tag is None:
            return text
        text = text[len(tag) :]


def _call(value: Any, functions: Collection[str]) -> Call:
    """A call of one of the functions. Raises ValueError or RowError for anything else."""
    call = call_of(value, "call")["function"]
    if call["name"] not in functions:
        raise ValueError("not a function that was offered")
    given = call["arguments"]
    return Call(call["name"], given if isinstance(given, str) else json.dumps(given, ensure_ascii=False))
