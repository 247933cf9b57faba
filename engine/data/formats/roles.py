"""Roles of turns: names in files, and the four roles that chat templates know."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from engine.data.formats.base import RowError, kind
from engine.data.formats.column_names import as_yaml
from engine.data.types import Role

CALL = "tool_call"
"""A turn of the assistant that is nothing but calls of tools, written as JSON."""
WRITTEN_CALLS = frozenset({CALL, "function_call"})
"""The names of such turns: ms-swift's and ShareGPT's."""
ROLES: Mapping[str, Role] = MappingProxyType(
    {
        **dict.fromkeys(("system", "developer"), "system"),
        **dict.fromkeys(("user", "human", "prompter"), "user"),
        **dict.fromkeys(("assistant", "gpt", "model", "chatgpt", "bot", "ai", "bing", "bard"), "assistant"),
        **dict.fromkeys(WRITTEN_CALLS, "assistant"),
        **dict.fromkeys(("tool", "observation", "function", "ipython"), "tool"),
        **dict.fromkeys(("tool_response", "function_response", "tool_result", "function_result"), "tool"),
    }
)
"""The names that files use for the four roles, in lower case."""
ASKING_FIRST: tuple[Role, ...] = ("user", "assistant")


def known_name(name: Any, place: str, turns: Sequence[Any] = ()) -> str:
    """The name of a role as `ROLES` has it, whatever its case; `turns` are those of the conversation.

    Raises `RowError` where it is none of them.
    """
    if not isinstance(name, str):
        raise RowError(f"`{place}` is {kind(name)} where the name of a role is expected")
    if (found := _known(name)) is not None:
        return found
    names = [each.get("role", each.get("from")) for each in turns if isinstance(each, dict)]
    choice = as_yaml({_short(each): role for each, role in _likely([name, *names]).items()})
    raise RowError(
        f"`{place}` is {_short(name)!r}, which is not a known role",
        fix=f"Say which role it is: --set 'data.roles={choice}' (or user, system, tool, {CALL})",
    )


def _known(name: str) -> str | None:
    if name in ROLES:
        return name
    folded = name.strip().casefold().replace("-", "_").replace(" ", "_")
    return folded if folded in ROLES else None


def _likely(names: Sequence[Any]) -> dict[str, Role]:
    """The roles that the first names of a conversation which are not known probably mean: who speaks first asks."""
    texts = dict.fromkeys(name for name in names if isinstance(name, str))
    known = {ROLES[found] for name in texts if (found := _known(name)) is not None}
    free = [role for role in ASKING_FIRST if role not in known] or ASKING_FIRST[-1:]
    unknown = [name for name in texts if _known(name) is None]
    return dict(zip(unknown, free, strict=False))


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:40]}…"


def renamed(value: Any, roles: Mapping[str, str]) -> Any:
    """Turns whose roles have the names that a recipe gives them; any other value as it is.

    `roles` is ft's name by the file's. Turns may stand as JSON in a text, as in CSV.
    """
    if isinstance(value, str) and value.lstrip()[:2].rstrip() in ("[", "[{"):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return value  # the format says what is wrong with it, or takes it for text
        made = renamed(parsed, roles)
        return value if made == parsed else made
    if isinstance(value, list):
        return [renamed(turn, roles) if isinstance(turn, dict) else turn for turn in value]
    if not isinstance(value, dict):
        return value
    made = {**value, "messages": renamed(value["messages"], roles)} if "messages" in value else value
    for who in ("role", "from"):
        if isinstance(name := made.get(who), str):
            made = {**made, who: roles.get(name, name)}
        elif isinstance(name, list):  # lists by key
            made = {**made, who: [roles.get(one, one) if isinstance(one, str) else one for one in name]}
    return made
