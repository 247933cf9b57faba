"""Calls of tools that an answer makes, read from its text, and compared with the expected ones."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.metrics.base import Lacking, Results
from engine.metrics.json_answers import fields, same

Call = tuple[str, Mapping[str, Any]]
"""Name and arguments."""
CALLS = "expected calls of tools"
_DECODER = json.JSONDecoder()
_ARGUMENTS = ("arguments", "parameters", "args", "input")


def calls_in(text: str) -> list[Call]:
    """The calls written in an answer, in order.

    A call is a JSON object with a name and arguments, alone, in a list, or within `<tool_call>` or whatever else a
    template puts around it: so Hermes, Qwen, Mistral and Llama 3 write them.
    """
    found: list[Call] = []
    at = 0
    while (start := _next_bracket(text, at)) is not None:
        try:
            value, at = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        found += [call for one in (value if isinstance(value, list) else [value]) if (call := call_of(one))]
    return found


def call_of(value: Any) -> Call | None:
    """Name and arguments of a call as OpenAI, or a model's text, writes it; None where it is no call."""
    if not isinstance(value, Mapping):
        return None
    function = value.get("function", value)
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str):
        return None
    given = next((function[key] for key in _ARGUMENTS if key in function), None)
    if isinstance(given, str):
        try:
            given = json.loads(given or "{}")
        except (ValueError, RecursionError):
            return None
    if given is None and function is value and len(value) > 1:
        return None  # an object that happens to have a name
    return (name, given or {}) if isinstance(given, Mapping | None) else None


def expected_and_made(results: Results) -> list[tuple[list[Call], list[Call]] | None]:
    """The expected and the made calls of each row; None for a row that expects none. Raises Lacking."""
    if not any(results.calls):
        raise Lacking(f"none of the rows has {CALLS}")
    assert results.answers is not None
    return [
        ([call for one in calls if (call := call_of(one))], calls_in(answer)) if calls else None
        for calls, answer in zip(results.calls, results.answers, strict=True)
    ]


def same_names(expected: Sequence[Call], made: Sequence[Call]) -> bool:
    """Return True if the same tools are called as often; their order does not count."""
    return sorted(name for name, _ in expected) == sorted(name for name, _ in made)


def same_calls(expected: Sequence[Call], made: Sequence[Call]) -> bool:
    """Return True if the same tools are called with the same arguments; their order does not count."""
    left = list(made)
    for call in expected:
        match = next((one for one in left if _equal(call, one)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _equal(one: Call, other: Call) -> bool:
    ours, theirs = fields(one[1]), fields(other[1])
    return (
        one[0] == other[0]
        and ours.keys() == theirs.keys()
        and all(same(ours[path], theirs[path]) for path in ours)
    )


def _next_bracket(text: str, at: int) -> int | None:
    found = [place for sign in "{[" if (place := text.find(sign, at)) >= 0]
    return min(found) if found else None
