"""Turns of a conversation → messages, in the spellings that files have: OpenAI's, ShareGPT's and others'."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from engine.data.formats.base import RowError, is_null, kind, listed, parsed, text_of
from engine.data.formats.content_parts import Content, content_of, in_lists, result_of
from engine.data.formats.media import refuse_media
from engine.data.formats.roles import ROLES, WRITTEN_CALLS, known_name
from engine.data.formats.tool_calls import call_of, calls_of, tools_of, written_calls
from engine.data.formats.train_flags import (
    FLAGS,
    PARTS_OF_A_TURN,
    asks_for_training,
    is_trained,
    looks_like_a_flag,
)
from engine.data.readers.table import Columns
from engine.data.types import MEDIA, REASONING, Conversation, Message, Role

NAMES = frozenset(("name", "tool_call_id"))
OF_ANSWERS = frozenset({*REASONING, "tool_calls", "function_call"})
KNOWN = frozenset({"role", "from", "content", "value", *NAMES, *OF_ANSWERS, *FLAGS, PARTS_OF_A_TURN, *MEDIA})
"""Keys of a turn that are read."""
PLAIN: Mapping[str, Role] = MappingProxyType(
    {name: role for name, role in ROLES.items() if name not in WRITTEN_CALLS}
)
"""Roles of turns whose text is their content."""
EMPTY = "an empty answer, which is not trained"


def messages_of(value: Any, column: str) -> tuple[Message, ...]:
    """The messages of a list of turns, of one written as JSON, or of lists by key. Raises `RowError`."""
    turns = parsed(value, column, "[{")
    if isinstance(turns, dict):
        turns = list(in_lists(turns, column))
    if not isinstance(turns, list):
        raise RowError(f"`{column}` is {kind(turns)} where a list of messages is expected")
    found: list[Message] = []
    for index, turn in enumerate(turns):
        if (message := _plain(turn)) is not None:
            found.append(message)
            continue
        place = f"{column}[{index}]"
        turn = parsed(turn, place, "{")
        if not isinstance(turn, dict):
            raise RowError(f"`{place}` is {kind(turn)} where a message is expected")
        name, role = role_in(turn, place, turns)
        if role != "assistant":
            found += _of_others(turn, role, place)
        elif name in WRITTEN_CALLS and found and found[-1].role == "assistant":
            found[-1:] = _together(found[-1], _answer(turn, name, place))
        else:
            found.append(_answer(turn, name, place))
    return tuple(found)


def _plain(turn: Any) -> Message | None:
    """Message of a turn that is a role and a text, as most are: a fast path.

    None for any other, also for one whose text has to be checked.
    """
    if not isinstance(turn, dict) or len(turn) != 2:
        return None
    name, text = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if not isinstance(text, str) or not isinstance(name, str) or name not in PLAIN:
        return None
    return Message(PLAIN[name], text) if text and text.isascii() and not text.isspace() else None


def role_in(turn: Mapping[str, Any], place: str, turns: Sequence[Any] = ()) -> tuple[str, Role]:
    """The name, among `ROLES`, of who speaks in a turn of `turns`, and its role. Raises `RowError`."""
    who = "from" if turn.get("from") is not None else "role"
    if turn.get(who) is None:
        raise RowError(f"`{place}` has neither `role` nor `from`, but {listed(turn)}")
    name = known_name(turn[who], f"{place}.{who}", turns)
    return name, ROLES[name]


def _content(turn: dict[str, Any], place: str) -> tuple[Any, str]:
    """Content of a turn, and its place. Raises `RowError` for media."""
    refuse_media(turn, f"{place}.")
    what = "value" if turn.get("value") is not None or "content" not in turn else "content"
    return turn.get(what), f"{place}.{what}"


def _said(content: Any, what: str, turn: dict[str, Any], place: str) -> Content:
    """Text and other parts of a content. Raises `RowError` for a turn without one."""
    if content is None and not {"content", "value"} & turn.keys():
        raise RowError(f"`{place}` has no `content`, but {listed(turn)}")
    return content_of(content, what)


def _given(turn: Mapping[str, Any], keys: frozenset[str]) -> list[str]:
    """Those of the keys that a turn has with a value."""
    return (
        [] if keys.isdisjoint(turn) else [key for key in sorted(keys & turn.keys()) if not is_null(turn[key])]
    )


def _names(turn: dict[str, Any], place: str) -> dict[str, Any]:
    """A name, and the call that a result belongs to."""
    return {key: text_of(turn[key], f"{place}.{key}") for key in _given(turn, NAMES)}


def _of_others(turn: dict[str, Any], role: Role, place: str) -> Sequence[Message]:
    """Messages of a turn of the user, the system or a tool: several only where it also holds results of tools."""
    content, what = _content(turn, place)
    unused = [f"`{key}` on a turn of {role}, which is not used" for key in _given(turn, OF_ANSWERS)]
    if asks_for_training(turn):
        unused.append(f"a turn of {role} that is to be trained: only the assistant's turns are")
    unused += _unknown_flags(turn)
    more = _names(turn, place) or None
    if role == "tool" and content is not None:
        return (Message(role, result_of(content, what), more=more, unused=tuple(unused)),)
    said = _said(content, what, turn, place)
    if said.thoughts or said.calls:
        found = "thoughts" if said.thoughts else "calls of tools"
        raise RowError(f"`{what}` has {found} in a turn of {role}")
    if said.results and not said.text:
        return (replace(said.results[0], unused=tuple(unused)), *said.results[1:])
    return (*said.results, Message(role, said.text, more=more, unused=tuple(unused)))


def _answer(turn: dict[str, Any], name: str, place: str) -> Message:
    """Message of an assistant's turn: text, thoughts and calls."""
    content, what = _content(turn, place)
    unused = _unknown_flags(turn)
    said, calls = Content(), _calls(turn, place, unused)
    if name in WRITTEN_CALLS:
        said.thoughts, said.calls = written_calls(content, what)
    elif content is not None or not calls:
        said = _said(content, what, turn, place)
    if said.results:
        raise RowError(f"`{what}` has a tool's result in a turn of the assistant")
    calls += said.calls
    thoughts = _thoughts(turn, said, place, unused)
    more = _names(turn, place)
    more |= {"reasoning_content": thoughts} if thoughts else {}
    more |= {"tool_calls": calls} if calls else {}
    trained = is_trained(turn, place)
    if trained and not (said.text.strip() or thoughts or calls):
        trained = False
        unused.append(EMPTY)
    return Message("assistant", said.text, trained, more or None, tuple(unused))


def _thoughts(turn: dict[str, Any], said: Content, place: str, unused: list[str]) -> str:
    """The thoughts under one of the keys that they have, else those among the parts."""
    given = [key for key in REASONING if key in turn and not is_null(turn[key])]
    found = [text_of(turn[key], f"{place}.{key}") for key in given]
    found += [said.thoughts] if said.thoughts else []
    if len(set(found)) > 1:
        unused.append(f"other thoughts than those under `{given[0]}`, which are not used")
    return found[0] if found else ""


def _calls(turn: dict[str, Any], place: str, unused: list[str]) -> list[dict[str, Any]]:
    """The calls under `tool_calls`, else the one under the older `function_call`."""
    new, old = turn.get("tool_calls"), turn.get("function_call")
    if not is_null(new):
        if not is_null(old):
            unused.append("`function_call` beside `tool_calls`, which is not used")
        return calls_of(new, f"{place}.tool_calls")
    return [] if is_null(old) else [call_of(old, f"{place}.function_call")]


def _unknown_flags(turn: dict[str, Any]) -> list[str]:
    """Notes on unknown keys that may say if a turn is trained."""
    if KNOWN.issuperset(turn):
        return []
    unknown = sorted(str(key) for key in turn.keys() - KNOWN if looks_like_a_flag(str(key), turn[key]))
    return [
        f"`{key}` on turns, which is not used: `weight: 0` keeps a turn from being trained" for key in unknown
    ]


def _together(before: Message, call: Message) -> Sequence[Message]:
    """Merge a turn that writes its calls into the assistant's turn before it: both are one answer.

    Not so where one of them is trained and the other is not, or where it has thoughts of its own.
    """
    if call.trained != before.trained or call.has("reasoning_content"):
        return (before, call)
    given, more = before.more or {}, call.more or {}
    calls = [*given.get("tool_calls", ()), *more["tool_calls"]]
    return (replace(before, more={**given, "tool_calls": calls}, unused=before.unused + call.unused),)


def conversation(columns: Columns, turns: Sequence[Message], where: str) -> Conversation:
    """The turns of a row, with its `system` message in front and its `tools`. Raises `RowError`.

    Turns that begin with a system message have theirs.
    """
    unused = [note for turn in turns for note in turn.unused]
    system = system_of(columns)
    if system and turns and turns[0].role == "system":
        if turns[0].content.strip() != system[0].content.strip():
            unused.append("`system`, which is not used: its messages begin with a system message")
        system = []
    if "functions" in columns and not is_null(columns.get("tools")) and not is_null(columns["functions"]):
        unused.append("`functions` beside `tools`, which is not used")
    return Conversation((*system, *turns), where, tools_of(columns), unused=tuple(dict.fromkeys(unused)))


def system_of(columns: Columns) -> list[Message]:
    """The message of a `system` column, where it says something: text, or a list of parts. Raises `RowError`."""
    value = columns.get("system")
    if is_null(value):
        return []
    said = content_of(value, "system")
    return [Message("system", said.text)] if said.text else []
