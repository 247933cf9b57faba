"""Backends that other packages bring by an entry point: known by name, imported only when one is asked for."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from engine.errors import MachineError

GROUP = "ft.backends"


@cache
def installed() -> Mapping[str, EntryPoint]:
    """By the name that a recipe gives as `backend`; nothing of theirs is imported for it."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def load(name: str) -> Any:
    """The object that the entry point names. Raises MachineError where its package does not import."""
    entry = installed()[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        package = entry.dist.name if entry.dist else entry.value
        raise MachineError(
            f"backend: {name} does not load: {error}",
            f"Install the package {package} again, or use backend: auto.",
        ) from error
