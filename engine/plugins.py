"""What other packages bring by entry points: known by name, imported only when one is asked for."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from engine.errors import MachineError

BACKENDS = "ft.backends"
SOURCES = "ft.sources"
KEYS = {BACKENDS: "backend", SOURCES: "source"}
"""The groups of entry points, and what one of each is called."""


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """By the name that a recipe gives; nothing of theirs is imported for it."""
    return {entry.name: entry for entry in entry_points(group=group)}


def load(group: str, name: str, instead: str = "") -> Any:
    """The object that the entry point names; `instead` is what else to do, for the hint.

    Raises MachineError where its package does not import.
    """
    entry = installed(group)[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        package = entry.dist.name if entry.dist else entry.value
        raise MachineError(
            f"{KEYS[group]}: {name} does not load: {error}", f"Install the package {package} again{instead}."
        ) from error
