"""What other packages bring by entry points: known by name, imported only when one is asked for."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from engine.errors import MachineError

BACKENDS, FORMATS, TEMPLATES, SOURCES = "ft.backends", "ft.formats", "ft.templates", "ft.sources"
METRICS = "ft.metrics"
KEYS = {
    BACKENDS: "backend",
    FORMATS: "data.format",
    TEMPLATES: "model.chat_template",
    SOURCES: "source",
    METRICS: "evaluation.metrics",
}
"""The groups of entry points, and the key of a recipe that names one of each."""


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """By the name that a recipe gives; nothing of theirs is imported for it."""
    return {entry.name: entry for entry in entry_points(group=group)}


def load(group: str, name: str) -> Any:
    """The object that the entry point names. Raises MachineError where its package does not import."""
    entry, key = installed(group)[name], KEYS[group]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        package = entry.dist.name if entry.dist else entry.value
        raise MachineError(
            f"{key}: {name} does not load: {error}",
            f"Install the package {package} again" + _otherwise(group, name),
        ) from error


def _otherwise(group: str, name: str) -> str:
    """How a hint goes on that says to install a package again: what works without it."""
    if group == SOURCES:
        return "."
    return f", or leave {name} out." if group == METRICS else f", or use {KEYS[group]}: auto."
