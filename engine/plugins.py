"""Entry points of other packages: known by name, imported only when one is asked for."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from engine.errors import MachineError

BACKENDS, FORMATS, TEMPLATES, SOURCES = "ft.backends", "ft.formats", "ft.templates", "ft.sources"
METHODS = "ft.methods"
KEYS = {
    BACKENDS: "backend",
    FORMATS: "data.format",
    TEMPLATES: "model.chat_template",
    SOURCES: "source",
    METHODS: "training.method",
}
"""The groups of entry points, and the key of a recipe that names one of each."""
DEFAULTS = {BACKENDS: "auto", FORMATS: "auto", TEMPLATES: "auto", METHODS: "sft"}
"""Value of each key that needs no other package."""


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """Entry points of a group by name. Imports none of the packages."""
    return {entry.name: entry for entry in entry_points(group=group)}


def load(group: str, name: str) -> Any:
    """The object that the entry point names. Raises MachineError where its package does not import."""
    entry, key, default = installed(group)[name], KEYS[group], DEFAULTS.get(group)
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        package = entry.dist.name if entry.dist else entry.value
        raise MachineError(
            f"{key}: {name} does not load: {error}",
            f"Install the package {package} again" + (f", or use {key}: {default}." if default else "."),
        ) from error
