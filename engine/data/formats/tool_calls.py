"""Tools that may be called, and calls of them, as OpenAI writes them."""

import re
from collections.abc import Mapping
from typing import Any

from engine.data.formats.base import RowError, is_null, kind, parsed, sound, text_of
from engine.data.readers.table import Columns

_ARGUMENTS = ("arguments", "parameters", "input", "args")
_THOUGHTS_FIRST = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def tools_of(columns: Columns) -> tuple[Mapping[str, Any], ...]:
    """The functions under `tools` (or `functions`), each as {"type": "function", "function": …}.

    A list, or one written as JSON. Raises `RowError`.
    """
    if "tools" not in columns and "functions" not in columns:
        return ()
    column = "functions" if is_null(columns.get("tools")) else "tools"
    if is_null(columns.get(column)):
        return ()
    value = parsed(columns[column], column, "[")
    if not isinstance(value, list):
        raise RowError(f"`{column}` is {kind(value)} where a list of functions is expected")
    found: list[Mapping[str, Any]] = []
    for index, tool in enumerate(value):
        found += _functions(tool, f"{column}[{index}]")
    return tuple(found)


def _functions(tool: Any, place: str) -> list[Mapping[str, Any]]:
    """Functions that an entry of `tools` declares: one, or Gemini's list of them."""
    tool = parsed(tool, place, "{")
    if isinstance(tool, dict) and isinstance(many := tool.get("functionDeclarations"), list):
        return [_tool(one, f"{place}.functionDeclarations[{at}]") for at, one in enumerate(many)]
    return [_tool(tool, place)]


def _tool(tool: Any, place: str) -> Mapping[str, Any]:
    function = parsed(tool.get("function", tool), place, "{") if isinstance(tool, dict) else tool
    if not isinstance(function, dict):
        raise RowError(f"`{place}` is {kind(function)} where a function is expected")
    text_of(function.get("name"), f"{place}.name")
    sound(tool, place)
    schema = function.get("parameters")
    in_text = isinstance(schema, str) or (
        isinstance(schema, dict) and isinstance(schema.get("properties"), str)
    )
    if function is tool or in_text or schema is None:
        function = _declared(function, place)
    return (
        {**tool, "function": function} if "function" in tool else {"type": "function", "function": function}
    )


def _declared(function: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A function as OpenAI declares it: without a type of its own, its parameters an object."""
    made = {key: value for key, value in function.items() if key != "type" or value != "function"}
    if "parameters" not in made and "input_schema" in made:  # Anthropic's name for it
        made["parameters"] = made.pop("input_schema")
    schema = parsed(made.get("parameters"), f"{place}.parameters", "{")
    if isinstance(schema, dict) and isinstance(inner := schema.get("properties"), str):
        schema = schema | {"properties": parsed(inner, f"{place}.parameters.properties", "{")}
    return made | ({"parameters": schema} if "parameters" in made else {})


def calls_of(value: Any, place: str) -> list[dict[str, Any]]:
    """The calls of a list of them, or of one written as JSON. Raises `RowError`."""
    value = parsed(value, place, "[")
    if not isinstance(value, list):
        raise RowError(f"`{place}` is {kind(value)} where a list of calls is expected")
    return [call_of(one, f"{place}[{at}]") for at, one in enumerate(value)]


def call_of(call: Any, place: str) -> dict[str, Any]:
    """A call as OpenAI writes it, its arguments as an object where they are one, which is what templates take.

    Arguments may be under `arguments`, `parameters`, `input` (Anthropic) or `args` (Gemini). Raises `RowError`.
    """
    call = parsed(call, place, "{")
    function = call.get("function", call) if isinstance(call, dict) else call
    function = parsed(function, place, "{")
    if not isinstance(function, dict):
        raise RowError(f"`{place}` is {kind(function)} where a call is expected")
    name = text_of(function.get("name"), f"{place}.name")
    arguments = next((function[key] for key in _ARGUMENTS if function.get(key) is not None), None)
    found = {} if arguments is None or arguments == "" else parsed(arguments, f"{place}.arguments", "{")
    sound(found, f"{place}.arguments")
    made: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": found}}
    if call.get("id") is not None:
        made["id"] = text_of(call["id"], f"{place}.id")
    return made


def written_calls(value: Any, place: str) -> tuple[str, list[dict[str, Any]]]:
    """The thoughts and the calls of a turn that writes its calls as JSON: one object, or a list of them.

    Thoughts are what stands in `<think>` before the JSON. Raises `RowError`.
    """
    thoughts = ""
    if isinstance(value, str) and (found := _THOUGHTS_FIRST.match(value)):
        thoughts, value = found[1].strip(), value[found.end() :]
    calls = parsed(value, place, "[{")
    if not isinstance(calls, dict | list) or not calls:
        raise RowError(f"`{place}` is {kind(calls)} where a call is expected: {{name, arguments}}")
    many = calls if isinstance(calls, list) else [calls]
    return thoughts, [call_of(call, place) for call in many]
