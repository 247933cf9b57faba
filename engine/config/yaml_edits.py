"""The edits that set or take out one key of a YAML text; `engine.config.patch` applies and checks them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from engine.config.yaml_spans import BREAKS, Span
from engine.config.yaml_writer import Written, inline
from engine.errors import ConfigError

Edit = tuple[int, int, str]
"""Start, end, and what stands there instead."""
COMMENT = re.compile(r" +(?=#)")
"""The space between a value and the comment after it."""
STEP = "  "
"""Indent of a section that has no keys yet."""


def at(data: Any, path: list[str]) -> Any:
    """The value of a key in plain data; None where it is not there."""
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data


def canonical(data: Any) -> str:
    """Equal for equal data, types counted; a section without keys is the same as an empty one."""
    return json.dumps(_filled(data), sort_keys=True, default=str)


def _filled(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _filled(value) for key, value in data.items()} or None
    return [_filled(item) for item in data] if isinstance(data, list | tuple) else data


@dataclass(frozen=True)
class Page:
    """A text that is edited: its values, where they stand, and the key at which it changes."""

    text: str
    key: str
    root: Span | None
    """None where the text holds no value."""
    end: int
    """Offset of the end of the document."""
    data: Any

    @property
    def path(self) -> list[str]:
        return self.key.split(".")

    def refuse(self, why: str) -> ConfigError:
        return ConfigError(f"{self.key} cannot be changed here: {why}", "Change it in the text.")

    # Finding

    def put(self, value: object, wanted: object) -> list[Edit]:
        """The edits that set the key."""
        here, path = self.root, self.path
        if here is None:
            return [self.at_end(self.block(path, value, ""))]
        for depth, step in enumerate(path):
            if here.kind != "mapping":
                raise self.refuse(f"{'.'.join(path[:depth]) or 'the recipe'} is not a mapping of keys")
            found = here.entry(step)
            if found is None:
                return [self.added(here, path[depth:], value)]
            if depth < len(path) - 1 and _is_empty(found[1]):
                return self.filled(here, found, path[depth + 1 :], value)
            here = found[1]
        assert found is not None
        self.refuse_shared(found[1])
        if isinstance(wanted, list) and wanted and here.items:
            return self.items(here, wanted)
        return self.replaced(found, value)

    def drop(self) -> list[Edit]:
        """The edits that take the key out."""
        here, path = self.root, self.path
        for step in path[:-1]:
            found = here.entry(step) if here is not None else None
            here = found[1] if found else None
        found = here.entry(path[-1]) if here is not None else None
        if here is None or found is None:
            return []
        self.refuse_shared(found[1])
        if not here.flow:
            return [(self.line_start(found[0].start), self.after_line(found[1].end), "")]
        index = here.pairs.index(found)
        if index + 1 < len(here.pairs):
            return [(found[0].start, here.pairs[index + 1][0].start, "")]
        start = here.pairs[index - 1][1].end if index else found[0].start
        return [(start, found[1].end, "")]

    def refuse_shared(self, value: Span) -> None:
        """An anchored value stands in other places too: changing it would change them."""
        assert self.root is not None
        inside = list(value.inner())
        anchors = {span.anchor for span in inside if span.kind != "alias" and span.anchor}
        uses = [span.anchor for span in self.root.inner() if span.kind == "alias" and span not in inside]
        if shared := anchors & set(uses):
            raise self.refuse(f"its value is used elsewhere as *{min(shared)}")

    # Changing

    def replaced(self, found: tuple[Span, Span], value: object) -> list[Edit]:
        """A new value for a key that is there; the comment after the old one stays."""
        key, old = found
        if old.flow and old.start == old.end:
            return [(old.start, old.end, f"{'' if self.text[old.start - 1] == ':' else ':'} {inline(value)}")]
        if old.flow:
            return [self.on_its_line(old, value)]
        colon = self.text.index(":", key.end) + 1
        return [
            (colon, colon, f" {inline(value)}"),
            (self.line_start(old.start), self.after_line(old.end), ""),
        ]

    def on_its_line(self, old: Span, value: object) -> Edit:
        """A value in another's place; the comment after it stays in its column if there is room."""
        new = inline(value, old.style if old.style in ("'", '"') else "")
        gap = COMMENT.match(self.text, old.end)
        if gap is None or "\n" in self.text[old.start : old.end]:
            return (old.start, old.end, new)
        column = len(gap[0]) + old.end - old.start
        return (old.start, gap.end(), new + " " * max(column - len(new), min(len(gap[0]), 2)))

    def filled(self, parent: Span, found: tuple[Span, Span], path: list[str], value: object) -> list[Edit]:
        """The first key of a section that is there and empty."""
        key, old = found
        if parent.flow:
            return self.replaced(found, Written("{" + self.pair(path, value) + "}"))
        column = key.start - self.line_start(key.start)
        lines = self.block(path, value, " " * column + STEP)
        blank = old.start - (self.text[old.start - 1] == " ") if old.end > old.start else old.start
        return [(blank, old.end, ""), self.line(self.after_line(old.end), lines)]

    def added(self, mapping: Span, path: list[str], value: object) -> Edit:
        """A key that its mapping does not have yet: below the others."""
        if mapping.flow:
            pair = self.pair(path, value)
            if not mapping.pairs:
                return (mapping.start, mapping.end, "{" + pair + "}")
            last = mapping.pairs[-1][1].end
            return (last, last, f", {pair}")
        first, last_value = mapping.pairs[0][0], mapping.pairs[-1][1]
        if mapping is not self.root:
            indent = " " * (first.start - self.line_start(first.start))
            return self.line(self.after_line(last_value.end), self.block(path, value, indent))
        if len(path) > 1:
            return self.at_end(self.block(path, value, ""))
        above = [one for _, one in mapping.pairs if one.kind == "scalar"]
        start = self.after_line(above[-1].end) if above else self.line_start(first.start)
        return self.line(start, self.block(path, value, ""))

    def items(self, old: Span, after: list[Any]) -> list[Edit]:
        """A list: items that stay are not touched, so that their comments stay."""
        edits: list[Edit] = []
        left, right = [canonical(one) for one in at(self.data, self.path)], [canonical(one) for one in after]
        for what, i, j, k, m in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
            if what == "equal":
                continue
            same = min(j - i, m - k) if not old.flow or j - i == m - k else 0
            for span, value in zip(old.items[i : i + same], after[k : k + same], strict=True):
                edits.append(self.on_its_line(span, value))
            rest = after[k + same : m]
            change = self.flow_items if old.flow else self.block_items
            if i + same < j or rest:
                edits.append(change(old, i + same, j, [inline(value) for value in rest]))
        return edits

    def flow_items(self, old: Span, i: int, j: int, new: list[str]) -> Edit:
        """Items `i` to `j` of `[…]`, replaced by others."""
        if i < j and new:
            return (old.items[i].start, old.items[j - 1].end, ", ".join(new))
        if i < j < len(old.items):
            return (old.items[i].start, old.items[j].start, "")
        if i < j:
            return (old.items[i - 1].end, old.items[j - 1].end, "")
        if i < len(old.items):
            return (old.items[i].start, old.items[i].start, "".join(f"{one}, " for one in new))
        return (old.items[-1].end, old.items[-1].end, "".join(f", {one}" for one in new))

    def block_items(self, old: Span, i: int, j: int, new: list[str]) -> Edit:
        """Items `i` to `j` of a list with dashes, a line each: taken out, or others put before them."""
        if i < j:
            return (self.line_start(old.items[i].start), self.after_line(old.items[j - 1].end), "")
        dash = " " * (old.start - self.line_start(old.start)) + "- "
        lines = [dash + one for one in new]
        if i < len(old.items):
            return self.line(self.line_start(old.items[i].start), lines)
        return self.line(self.after_line(old.items[-1].end), lines)

    # Writing

    def pair(self, path: list[str], value: object) -> str:
        """`key: value` within braces."""
        key, *rest = path
        return f"{inline(key)}: " + ("{" + self.pair(rest, value) + "}" if rest else inline(value))

    def block(self, path: list[str], value: object, indent: str) -> list[str]:
        """The lines of a key and its value, the sections it needs in front."""
        key, *rest = path
        if not rest:
            return [f"{indent}{inline(key)}: {inline(value)}"]
        return [f"{indent}{inline(key)}:", *self.block(rest, value, indent + STEP)]

    def at_end(self, lines: list[str]) -> Edit:
        """A new section below all others, with a blank line above if that is how they are set apart."""
        apart = self.newline * 2 in self.text and not self.text[: self.end].endswith(self.newline * 2)
        return self.line(self.end, ["", *lines] if apart else lines)

    def line(self, at: int, lines: list[str]) -> Edit:
        """Whole lines put in where a line starts, or at the end of a text without a last line break."""
        new = self.newline.join(lines)
        starts = at == 0 or self.text[at - 1] in BREAKS
        return (at, at, new + self.newline if starts else self.newline + new)

    @property
    def newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def line_start(self, at: int) -> int:
        return max(self.text.rfind(mark, 0, at) for mark in BREAKS) + 1

    def after_line(self, at: int) -> int:
        """Offset of the next line; the end of the text where there is none."""
        # `|+` ends with its last line break: what is below it begins right there.
        if at and self.text[at - 1] in BREAKS:
            return at
        end = min(
            (found for mark in BREAKS if (found := self.text.find(mark, at)) >= 0), default=len(self.text)
        )
        return end + (2 if self.text[end : end + 2] == "\r\n" else 1) if end < len(self.text) else end


def _is_empty(value: Span) -> bool:
    return value.kind == "scalar" and not value.style and value.text in ("", "~", "null", "Null", "NULL")
