"""YAML text → nodes that know their line and column, under YAML 1.2's scalars.

PyYAML alone reads `2e-4` as text, `010` as 8 and `no` as false, and builds whatever objects the text asks for. Here its
parser gives only events, from which a bounded tree of plain values is made.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.config.problems import Place, Problem, RecipeError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 20_000
LONGEST_INT = 19
"""Digits of a whole number at most, its sign included: what 64 bits hold. A longer one counts as a float."""

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)

Scalar = str | int | float | bool | None


@dataclass
class Node:
    """A value with its place. `value` is a scalar, a list of nodes, or a mapping of keys to entries.

    `text` is a scalar as it was written; `plain` is true where it had no quotes.
    """

    place: Place
    value: "Scalar | list[Node] | dict[str, Entry]"
    text: str = ""
    plain: bool = False
    nodes: int = field(default=1, compare=False)
    """Number of nodes in this one once aliases are expanded."""
    height: int = field(default=0, compare=False)

    def data(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: entry.node.data() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [item.data() for item in self.value]
        return self.value


@dataclass
class Entry:
    """A key of a mapping: where the key stands, and its value."""

    place: Place
    node: Node


def read_yaml(text: str, origin: str, problems: list[Problem]) -> Node:
    """The tree of one YAML document.

    Problems that leave the rest readable (a duplicate key, a tag) are added to `problems`; what makes the
    rest unreadable raises `RecipeError` immediately.
    """
    try:
        data = text.removeprefix("\ufeff").encode()
    except UnicodeEncodeError as error:
        raise RecipeError([Problem(Place(origin), f"not UTF-8 text ({error.reason})")]) from error
    if len(data) > MAX_BYTES:
        raise RecipeError([Problem(Place(origin), "larger than 1 MB; a recipe is much smaller")])
    try:
        return _Builder(origin, problems).document(yaml.parse(data, Loader=_PARSER))
    except yaml.YAMLError as error:
        raise RecipeError([_syntax(error, text, origin)]) from error


def scalar(text: str) -> Scalar:
    """A plain scalar's value under YAML 1.2's core schema; what matches nothing is text."""
    if NULL.match(text):
        return None
    if BOOL.match(text):
        return text.lower() == "true"
    if INT.match(text) and len(text) <= LONGEST_INT:
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Builder:
    """Makes the tree from parser events with a stack of its own, so that no depth can overflow Python's."""

    def __init__(self, origin: str, problems: list[Problem]) -> None:
        self.origin = origin
        self.problems = problems
        self.anchors: dict[str, Node | None] = {}

    def document(self, events: Iterator[yaml.Event]) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise self.stop(event, "a second document starts here; a recipe is one document")
            if isinstance(event, yaml.NodeEvent):
                root = self.tree(event, events)
        return root or Node(Place(self.origin, 1, 1), None)

    def tree(self, first: yaml.Event, events: Iterator[yaml.Event]) -> Node:
        """The node that starts with `first`, its children taken from `events`."""
        open_nodes: list[tuple[Node, list[Node], str | None]] = []
        event = first
        while True:
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                node = self.close(*open_nodes.pop())
            elif isinstance(event, yaml.CollectionStartEvent):
                if len(open_nodes) >= MAX_DEPTH:
                    raise self.stop(event, f"nested more than {MAX_DEPTH} levels deep")
                self.refuse_tag(event)
                is_list = isinstance(event, yaml.SequenceStartEvent)
                if event.anchor:
                    self.anchors[event.anchor] = None
                open_nodes.append((Node(self.place(event), [] if is_list else {}), [], event.anchor))
                event = next(events)
                continue
            else:
                node = self.leaf(event, len(open_nodes))
            if not open_nodes:
                return node
            parent, children, _ = open_nodes[-1]
            children.append(node)
            parent.nodes += node.nodes
            parent.height = max(parent.height, node.height + 1)
            if parent.nodes > MAX_NODES:
                raise self.stop(event, f"aliases or lists that expand to more than {MAX_NODES:,} values")
            event = next(events)

    def leaf(self, event: yaml.Event, depth: int) -> Node:
        """A scalar, or what an alias stands for."""
        if isinstance(event, yaml.AliasEvent):
            target = self.anchors.get(str(event.anchor))
            if target is None:
                why = "refers to itself" if event.anchor in self.anchors else "has no anchor before it"
                raise self.stop(event, f"alias *{event.anchor} {why}")
            if depth + target.height > MAX_DEPTH:
                raise self.stop(event, f"nested more than {MAX_DEPTH} levels deep")
            return Node(
                self.place(event), target.value, target.text, target.plain, target.nodes, target.height
            )
        assert isinstance(event, yaml.ScalarEvent)
        self.refuse_tag(event)
        plain = event.style is None or event.style == ""
        value = scalar(event.value) if plain else event.value
        node = Node(self.place(event), value, event.value, plain)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def close(self, node: Node, children: list[Node], anchor: str | None) -> Node:
        """A list or mapping whose children are all known."""
        if isinstance(node.value, list):
            node.value.extend(children)
        elif isinstance(node.value, dict):
            for key, value in zip(children[::2], children[1::2], strict=True):
                self.add(node.value, key, value)
        if anchor:
            self.anchors[anchor] = node
        return node

    def add(self, entries: dict[str, Entry], key: Node, value: Node) -> None:
        if isinstance(key.value, list | dict):
            self.problems.append(Problem(key.place, "a key has to be one word, not a list or a mapping"))
        elif key.text == "<<" and key.plain:
            message = "merge keys (<<) are not read here; write the keys out"
            self.problems.append(Problem(key.place, message, key="<<"))
        elif key.text in entries:
            first = entries[key.text].place
            message = f"{key.text} is given twice; the first is on line {first.line}"
            self.problems.append(Problem(key.place, message, key=key.text))
        else:
            entries[key.text] = Entry(key.place, value)

    def refuse_tag(self, event: Any) -> None:
        if event.tag is not None and event.tag != "!":
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            message = f"tag {tag} is not read here; write the value without it, in quotes where it is text"
            self.problems.append(Problem(self.place(event), message))

    def place(self, event: Any) -> Place:
        return Place(self.origin, event.start_mark.line + 1, event.start_mark.column + 1)

    def stop(self, event: yaml.Event, message: str) -> RecipeError:
        return RecipeError([*self.problems, Problem(self.place(event), message)])


def _syntax(error: yaml.YAMLError, text: str, origin: str) -> Problem:
    """The parser's complaint in plain words, at the place where the mistake starts."""
    mark = getattr(error, "problem_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return _no_text(error, text, origin)
    start, said = error.context_mark, f"{error.problem} {error.context}"
    lines = text.splitlines() or [""]
    line = lines[min(mark.line, len(lines) - 1)]
    message = f"not YAML: {error.problem}"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        message = "a tab is used to indent; YAML wants spaces"
    elif start and "quoted scalar" in said and "end of stream" in said:
        mark, message = start, "this quote is not closed"
    elif start and "flow" in said:
        mark, message = start, "this bracket is not closed, or a comma is missing after an item"
    elif "cannot start any token" in said:
        message = f"text that starts with {line[mark.column : mark.column + 1]} has to be in quotes"
    elif "mapping values are not allowed" in said:
        message = "two `: ` on one line, or a wrong indent above; text with `: ` in it has to be in quotes"
    elif "could not find expected ':'" in said:
        message = "this line, or the one above, has no `: ` after its key"
    elif "block mapping" in said:
        message = "this line is indented differently from the keys beside it, or has no key"
    return Problem(Place(origin, mark.line + 1, mark.column + 1), message)


def _no_text(error: yaml.YAMLError, text: str, origin: str) -> Problem:
    """A character that text files do not have; the parser says what is wrong with it, and not where."""
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if not found:
        return Problem(Place(origin, 1, 1), f"not YAML: {error}")
    before = text[: found.start()]
    place = Place(origin, before.count("\n") + 1, len(before) - before.rfind("\n"))
    return Problem(place, f"character U+{ord(found.group()):04X} does not belong in a text file")
