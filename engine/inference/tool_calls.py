"""Calls of tools that an answer writes as text, in the notations of model families."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.data.formats.base import RowError
from engine.data.formats.tool_calls import call_of

_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
_LISTED = re.compile(r"\[TOOL_CALLS\]\s*(\[.*|\{.*)", re.DOTALL)
_NAMED = re.compile(
    r"\[TOOL_CALLS\]\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(\{.*?\})\s*(?=\[TOOL_CALLS\]|\Z)", re.DOTALL
)
_PYTHON_TAG = "<|python_tag|>"


def calls_in(text: str, tools: Sequence[Mapping[str, Any]]) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    """The text without its calls, and the calls as OpenAI writes them.

    Read are <tool_call> with JSON (Qwen, Hermes), [TOOL_CALLS] (Mistral), and, where the answer is nothing else, bare
    JSON that names one of the `tools` (Llama). What cannot be read stays text.
    """
    if "<tool_call>" in text:
        return _found(_TAGGED.sub("", text), text, [match[1] for match in _TAGGED.finditer(text)])
    if match := _LISTED.search(text):
        return _found(text[: match.start()], text, [match[1]])
    if named := [*_NAMED.finditer(text)]:
        written = [f'{{"name": {json.dumps(match[1])}, "arguments": {match[2]}}}' for match in named]
        return _found(text[: named[0].start()], text, written)
    names = {str(tool.get("function", tool).get("name")) for tool in tools}
    bare = text.strip().removeprefix(_PYTHON_TAG).strip()
    if bare.startswith(("{", "[")) and names:
        rest, calls = _found("", text, [bare])
        if calls and all(call["function"]["name"] in names for call in calls):
            return rest, calls
    return text, ()


def _found(rest: str, whole: str, written: Sequence[str]) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    """The rest and the calls; the whole text and none where one of them cannot be read."""
    calls: list[Mapping[str, Any]] = []
    try:
        for text in written:
            value = json.loads(text)
            calls += [call_of(one, "call") for one in (value if isinstance(value, list) else [value])]
    except (ValueError, RecursionError, RowError):
        return whole, ()
    return (rest.strip(), tuple(calls)) if calls else (whole, ())
