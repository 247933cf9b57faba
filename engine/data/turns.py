"""Messages of a row, in OpenAI's spelling or ShareGPT's, with tools, calls of them, reasoning and weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.form import RowError, kind, listed, parsed, sound, text_of
from engine.data.rows import Columns
from engine.data.types import REASONING, Message, Prompt, Role
from engine.errors import ConfigError

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
}
"""The names that files use for the four roles."""


def messages_of(value: Any, column: str) -> tuple[Message, ...]:
    """The turns of a list. Raises `RowError`."""
    value = parsed(value, column, "[")
    if not isinstance(value, list):
        raise RowError(f"`{column}` is {kind(value)} where a list of messages is expected")
    return tuple(message_of(turn, f"{column}[{index}]") for index, turn in enumerate(value))


def message_of(turn: Any, place: str) -> Message:
    """A turn in either spelling: {role, content} or {from, value}. Raises `RowError`."""
    if not isinstance(turn, dict):
        raise RowError(f"`{place}` is {kind(turn)} where a message is expected")
    who, what = ("from", "value") if "from" in turn else ("role", "content")
    if who not in turn:
        raise RowError(f"`{place}` has neither `role` nor `from`, but {listed(turn)}")
    role = ROLES.get(turn[who]) if isinstance(turn[who], str) else None
    if role is None:
        raise RowError(f"`{place}.{who}` is {turn[who]!r}; known roles are {', '.join(ROLES)}")
    if turn[who] == "function_call":
        return Message(role, "", _is_trained(turn, place), {"tool_calls": _written_calls(turn, what, place)})
    more = None if len(turn) == 2 and what in turn else _more(turn, role, place)
    if more is not None and turn.get(what) is None and "tool_calls" in more:
        return Message(role, "", _is_trained(turn, place), more)
    if what not in turn:
        raise RowError(f"`{place}` has no `{what}`, but {listed(turn)}")
    content = turn[what]
    said = (
        text_of(content, f"{place}.{what}")
        if isinstance(content, str)
        else _parts(content, f"{place}.{what}")
    )
    return Message(role, said, role != "assistant" or _is_trained(turn, place), more)


def prompt_of(asked: Columns) -> Prompt:
    """What a model is asked: `messages` and `tools` as in a training row, and a `seed`. Raises ConfigError."""
    try:
        return Prompt(
            messages_of(asked.get("messages"), "messages"), int(asked.get("seed", 0)), tools_of(asked)
        )
    except RowError as error:
        raise ConfigError(
            f"The messages cannot be used: {error}.",
            'They are a list of {"role": …, "content": …}, as in training rows (docs/data.md).',
        ) from error


def written(message: Message) -> dict[str, Any]:
    """A message as `message_of` reads it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    turn |= dict(message.more or {})
    return turn if message.trained else {**turn, "weight": 0}


def system_of(columns: Columns) -> list[Message]:
    """The message of a `system` column, where there is one. Raises `RowError`."""
    text = text_of(columns.get("system") or "", "system")
    return [Message("system", text)] if text else []


def tools_of(columns: Columns) -> tuple[Mapping[str, Any], ...]:
    """The functions under `tools` (or `functions`), each as {"type": "function", "function": …}.

    A list, or one written as JSON. Raises `RowError`.
    """
    column = "tools" if columns.get("tools") else "functions"
    value = parsed(columns.get(column) or [], column, "[")
    if isinstance(value, str) and not value.strip():
        return ()
    if not isinstance(value, list):
        raise RowError(f"`{column}` is {kind(value)} where a list of functions is expected")
    return tuple(_tool(tool, f"{column}[{index}]") for index, tool in enumerate(value))


def tools_in(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The functions that a JSON file lists. Raises ConfigError."""
    try:
        return tools_of({"tools": json.loads(path.read_text(encoding="utf-8"))})
    except (OSError, ValueError, RecursionError, RowError) as error:
        raise ConfigError(
            f"{path} holds no tools that can be used: {error}",
            'It is a JSON list of functions, each {"name": …, "description": …, "parameters": …}.',
        ) from error


def _tool(tool: Any, place: str) -> Mapping[str, Any]:
    tool = parsed(tool, place, "{")
    function = tool.get("function", tool) if isinstance(tool, dict) else tool
    if not isinstance(function, dict):
        raise RowError(f"`{place}` is {kind(function)} where a function is expected")
    text_of(function.get("name"), f"{place}.name")
    sound(tool, place)
    return tool if function is not tool else {"type": "function", "function": tool}


def _more(turn: dict[str, Any], role: Role, place: str) -> Mapping[str, Any] | None:
    """What a turn has besides its text: calls, the call that it answers, a name, thoughts."""
    more: dict[str, Any] = {}
    for key in ("name", "tool_call_id"):
        if turn.get(key) is not None:
            more[key] = text_of(turn[key], f"{place}.{key}")
    if role != "assistant":
        return more or None
    if thoughts := next((key for key in REASONING if turn.get(key)), None):
        more["reasoning_content"] = text_of(turn[thoughts], f"{place}.{thoughts}")
    if calls := parsed(turn.get("tool_calls"), f"{place}.tool_calls", "["):
        if not isinstance(calls, list):
            raise RowError(f"`{place}.tool_calls` is {kind(calls)} where a list of calls is expected")
        more["tool_calls"] = [_call(one, f"{place}.tool_calls[{at}]") for at, one in enumerate(calls)]
    elif turn.get("function_call"):
        more["tool_calls"] = [_call(turn["function_call"], f"{place}.function_call")]
    return more or None


def _written_calls(turn: dict[str, Any], what: str, place: str) -> list[dict[str, Any]]:
    """The calls that a `function_call` turn writes as JSON: one object, or a list of them."""
    calls = parsed(turn.get(what), f"{place}.{what}", "[{")
    if not isinstance(calls, dict | list) or not calls:
        raise RowError(f"`{place}.{what}` is {kind(calls)} where a call is expected: {{name, arguments}}")
    many = calls if isinstance(calls, list) else [calls]
    return [_call(call, f"{place}.{what}") for call in many]


def _call(call: Any, place: str) -> dict[str, Any]:
    """A call in OpenAI's form, its arguments as an object where they are one, which is what templates take."""
    function = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(function, dict):
        raise RowError(f"`{place}` is {kind(function)} where a call is expected")
    name = text_of(function.get("name"), f"{place}.name")
    arguments = function.get("arguments", function.get("parameters"))
    found = {} if arguments is None or arguments == "" else parsed(arguments, f"{place}.arguments", "{")
    sound(found, f"{place}.arguments")
    made: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": found}}
    if function is not call and call.get("id") is not None:
        made["id"] = text_of(call["id"], f"{place}.id")
    return made


def _is_trained(turn: dict[str, Any], place: str) -> bool:
    weight = turn.get("weight")
    if weight is not None and weight not in (0, 1):
        raise RowError(f"`{place}.weight` is {kind(weight)}; it is 0 (not trained) or 1")
    return weight is None or bool(weight)


def _parts(value: Any, place: str) -> str:
    """The text of content that is a list of parts, as [{"type": "text", "text": …}]."""
    if not isinstance(value, list):
        return text_of(value, place)
    parts = []
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text":
            name = part.get("type") if isinstance(part, dict) else kind(part)
            raise RowError(f"`{place}` has a part that is not text: {name}")
        parts.append(text_of(part.get("text"), place))
    return "".join(parts)
