"""The plain YAML that ft writes of a resolved recipe, read line by line: faster than by a parser of all of YAML.

A list of thousands of runs reads as many recipes. Whatever is not written in this one way is left to `yaml_reader`.
"""

import re
from typing import Any

from engine.config.yaml_reader import Scalar, scalar

_PLAIN = r"(?:[\w./~]|-(?=[0-9]))(?:[\w./~+*?!()<>=,;$^' -]|:(?=[^ \n]))*(?<! )"
"""Text without quotes that can mean nothing else in YAML."""
_QUOTED = r"'(?:[ -&(-~\w]|'')*'"
_LINE = re.compile(rf"( *)(?:([a-z_]+):(?: (\[\]|\{{\}}|{_PLAIN}|{_QUOTED}))?|- ({_PLAIN}|{_QUOTED}))")
_EMPTY: dict[str, type[list[Any]] | type[dict[str, Any]]] = {"[]": list, "{}": dict}


def read_plain(text: str) -> dict[str, Any] | None:
    """The mapping that a text holds, as `read_yaml` reads it; None where it is not written plainly enough to tell."""
    root: dict[str, Any] = {}
    levels: list[tuple[int, dict[str, Any]]] = [(0, root)]
    waiting = ""
    """The last key, of the innermost mapping, where its value is on the next lines."""
    items: tuple[int, list[Any]] | None = None
    """The list that has begun, and its indent."""
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        indent, key, value, item = len(found[1]), found[2], found[3], found[4]
        inside = levels[-1][1]
        if item is not None:
            if items is None and waiting and indent >= levels[-1][0]:
                items = indent, []
                inside[waiting] = items[1]
            if items is None or items[0] != indent:
                return None
            items[1].append(_value(item))
            continue
        if waiting and items is None and indent > levels[-1][0]:
            inside[waiting] = inside = {}
            levels.append((indent, inside))
        while levels and levels[-1][0] > indent:
            levels.pop()
        if not levels or levels[-1][0] != indent or key in (inside := levels[-1][1]) or scalar(key) != key:
            return None
        waiting, items = "" if value else key, None
        empty = _EMPTY.get(value)
        inside[key] = empty() if empty else _value(value) if value else None
    return root or None


def _value(text: str) -> Scalar:
    return text[1:-1].replace("''", "'") if text.startswith("'") else scalar(text)
