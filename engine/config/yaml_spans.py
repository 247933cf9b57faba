"""Start and end of every value in a YAML text, for editing it in place."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BREAKS = "\r\n\x85\u2028\u2029"
"""Line breaks of YAML 1.1, which is what the parser reads."""


@dataclass
class Span:
    """A value's place in the text: `text[start:end]`, without the comment and the blank lines after it.

    A value that is left out (`revision:`) has an empty span right after its colon.
    """

    start: int
    end: int
    kind: Literal["scalar", "mapping", "sequence", "alias"]
    flow: bool = False
    """True where it is written on the line of its key: a scalar, an alias, `[…]` or `{…}`."""
    style: str = ""
    """A scalar's quotes, or `|` and `>`."""
    text: str = ""
    """A scalar as it reads."""
    pairs: list[tuple["Span", "Span"]] = field(default_factory=list)
    items: list["Span"] = field(default_factory=list)
    anchor: str = ""
    """The anchor that it sets, or, of an alias, the one that it stands for."""

    def entry(self, key: str) -> "tuple[Span, Span] | None":
        """The first pair of this key."""
        return next((pair for pair in self.pairs if pair[0].kind == "scalar" and pair[0].text == key), None)

    def inner(self) -> "Iterator[Span]":
        """This span and all within it."""
        yield self
        for key, value in self.pairs:
            yield key
            yield from value.inner()
        for item in self.items:
            yield from item.inner()


def spans(text: str) -> tuple[Span | None, int]:
    """The root value of a text that parses, and where the document ends. None where it holds no value."""
    events: Iterator[Any] = yaml.parse(text, Loader=PARSER)
    root: Span | None = None
    for event in events:
        if isinstance(event, yaml.NodeEvent) and root is None:
            root = _span(event, events, text)
        elif isinstance(event, yaml.DocumentEndEvent):
            return root, _index(event.start_mark) if event.explicit else len(text)
    return root, len(text)


def _span(event: Any, events: Iterator[Any], text: str) -> Span:
    start, end = event.start_mark.index, event.end_mark.index
    if isinstance(event, yaml.AliasEvent):
        return Span(start, end, "alias", True, anchor=str(event.anchor))
    anchor = event.anchor or ""
    if isinstance(event, yaml.ScalarEvent):
        end = _without_blank_lines(text, start, end, event.style or "")
        return Span(start, end, "scalar", True, event.style or "", event.value, anchor=anchor)
    span = Span(start, end, "sequence", bool(event.flow_style), anchor=anchor)
    inside: list[Span] = []
    while not isinstance(event := next(events), yaml.CollectionEndEvent):
        inside.append(_span(event, events, text))
    if isinstance(event, yaml.SequenceEndEvent):
        span.items = inside
    else:
        span.kind, span.pairs = "mapping", list(zip(inside[::2], inside[1::2], strict=True))
    # A block ends, for the parser, where the next thing starts; here, where its last value does.
    span.end = _index(event.end_mark) if span.flow or not inside else inside[-1].end
    return span


def _index(mark: Any) -> int:
    """Characters before a parser's mark."""
    return int(mark.index)


def _without_blank_lines(text: str, start: int, end: int, style: str) -> int:
    """The parser counts the blank lines below a block scalar to it; `|+` really has them."""
    if style not in ("|", ">"):
        return end
    header = text[start:end].splitlines()[0]
    return end if "+" in header else start + len(text[start:end].rstrip(f" \t{BREAKS}"))
