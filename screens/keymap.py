"""A person's own keys: checked against the table before Textual gets them, and shown as people write them."""

import string
import unicodedata
from collections.abc import Mapping

from textual.keys import KEY_NAME_REPLACEMENTS, Keys, format_key

from screens.action import Action
from screens.actions import ACTIONS

NAMED = frozenset(key.value for key in Keys) | {"space", "enter", "escape", "tab"}
MODIFIERS = frozenset({"ctrl", "shift", "alt", "super", "hyper", "meta"})
WORDS: Mapping[str, str] = {
    "enter": "enter",
    "escape": "esc",
    "space": "space",
    "tab": "tab",
    "backspace": "backspace",
    "delete": "del",
    "pageup": "pgup",
    "pagedown": "pgdn",
}
"""Keys that are shown as a word; Textual's signs for them are not in every font."""


def checked(wanted: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The part of a key map that can be used, and what is wrong with the rest, one line each.

    A key map gives keys, separated by commas, by action id. What is wrong falls back to the table's keys.
    """
    usable: dict[str, str] = {}
    problems: list[str] = []
    known = {action.id: action for action in ACTIONS}
    for action_id, text in wanted.items():
        if action_id not in known:
            problems.append(f"{action_id!r} is not an action.")
            continue
        keys = split(text)
        bad = [key for key in keys if not is_key(key)]
        if bad or not keys:
            problems.append(f"{action_id}: {bad[0] if bad else text!r} is not a key.")
            continue
        usable[action_id] = ",".join(keys)
    while clash := _first_clash(usable):
        changed, other, key = clash
        problems.append(f"{changed}: {shown(key)} is already the key of {other}.")
        del usable[changed]
    return usable, problems


def split(keys: str) -> list[str]:
    """The single keys of a list, by Textual's names."""
    if keys.strip() == ",":
        return ["comma"]
    return [_name(key.strip()) for key in keys.split(",") if key.strip()]


def is_key(key: str) -> bool:
    """Return True if a terminal can send this key: a character, a named key, or either with modifiers before it."""
    *modifiers, name = key.split("+")
    if not MODIFIERS.issuperset(modifiers):
        return False
    return name in NAMED or (len(name) == 1 and name.isprintable()) or name in map(_name, string.punctuation)


def keys_of(action: Action, changed: Mapping[str, str]) -> list[str]:
    """The keys of an action as they are now."""
    return split(changed.get(action.id, action.keys))


def shown(key: str) -> str:
    """A key as a person writes it: `?`, `ctrl+p`, `enter`, `↓`."""
    *modifiers, name = key.split("+")
    return "+".join([*modifiers, WORDS.get(name) or format_key(name)])


def clashes(first: Action, second: Action) -> bool:
    """Return True if two actions can be reached at the same time, so that they need different keys."""
    return first.id != second.id and (first.scope == second.scope or "app" in (first.scope, second.scope))


def _name(key: str) -> str:
    """Textual's name of a key that was written as its character: `question_mark` for `?`."""
    *modifiers, last = key.split("+") if key != "+" else [key]
    if len(last) == 1 and not last.isalnum():
        name = unicodedata.name(last, last).lower().replace("-", "_").replace(" ", "_")
        last = KEY_NAME_REPLACEMENTS.get(name, name)
    return "+".join([*modifiers, last])


def _first_clash(changed: Mapping[str, str]) -> tuple[str, str, str] | None:
    """A changed action, the other that has its key, and the key."""
    for action in ACTIONS:
        if action.id not in changed:
            continue
        for other in ACTIONS:
            shared = set(keys_of(action, changed)) & set(keys_of(other, changed))
            if shared and clashes(action, other):
                return action.id, other.id, shared.pop()
    return None
