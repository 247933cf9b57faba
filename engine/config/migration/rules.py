"""What becomes of a key: the three kinds of rule, and a tool's table of them carried out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.migration.convert import Refused, is_off, same
from engine.config.migration.draft import Draft


@dataclass(frozen=True)
class To:
    """A key that says the same as one of ours."""

    ours: str
    convert: Callable[[Any], Any] = same
    default: Any = None
    """The tool's default, written out where it is not ours; None where it is, or where it says nothing."""


@dataclass(frozen=True)
class By:
    """A key that means something only together with others: one function reads them all, given or not."""

    read: Callable[[Draft], None]
    ours: tuple[str, ...]
    """Our keys that it may set."""


@dataclass(frozen=True)
class No:
    """A key without equal: why, and what happens instead."""

    why: str
    instead: str = ""


Rule = To | By | No
Table = Mapping[str, Rule]


def each(keys: str, rule: Rule) -> dict[str, Rule]:
    """The same rule for several keys, written with spaces between them."""
    return dict.fromkeys(keys.split(), rule)


def named(keys: str) -> frozenset[str]:
    """The keys of a text, written with spaces between them."""
    return frozenset(keys.split())


def carry_out(table: Table, draft: Draft, tool: str) -> None:
    """Tell of every key of the file, by the table and in its order; then of those that it does not know."""
    done: set[Callable[[Draft], None]] = set()
    for key, rule in table.items():
        if isinstance(rule, By):
            if rule.read not in done:
                done.add(rule.read)
                rule.read(draft)
        elif isinstance(rule, To):
            _direct(draft, key, rule)
    for key, rule in table.items():
        if key in draft.told or not draft.has(key):
            continue
        if is_off(draft.given[key]):
            draft.leave([key], "off, or empty", "nothing")
        elif isinstance(rule, No):
            draft.leave([key], rule.why, rule.instead)
        else:
            draft.leave([key], "it has no meaning beside the other keys", "nothing")
    for key in draft.given:
        if key not in table:
            draft.leave([key], f"no key that ft knows of {tool}", "ft's default stands")


def _direct(draft: Draft, key: str, rule: To) -> None:
    if draft.has(key):
        try:
            draft.take(rule.ours, rule.convert(draft.given[key]), key)
        except Refused as error:
            draft.leave([key], str(error), f"ft's default of {rule.ours}")
    elif rule.default is not None:
        draft.imply(rule.ours, rule.default)


def keys_set(table: Table) -> Iterator[tuple[str, str]]:
    """Each key of a table with each of our keys that it may set."""
    for key, rule in table.items():
        ours = (rule.ours,) if isinstance(rule, To) else rule.ours if isinstance(rule, By) else ()
        yield from ((key, one) for one in ours)
