"""Entry points of other packages: known by name, imported only when one is asked for."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, cast

from engine.errors import MachineError
from engine.text import printable

BACKENDS, FORMATS, TEMPLATES, SOURCES = "ft.backends", "ft.formats", "ft.templates", "ft.sources"
METHODS = "ft.methods"
COMMANDS, EXPORTERS, TRACKERS = "ft.commands", "ft.exporters", "ft.trackers"
KEYS = {
    BACKENDS: "backend",
    FORMATS: "data.format",
    TEMPLATES: "model.chat_template",
    SOURCES: "source",
    METHODS: "training.method",
    COMMANDS: "command",
    EXPORTERS: "exporter",
    TRACKERS: "tracker",
}
"""The groups of entry points, and the key of a recipe, or the word, that names one of each."""
DEFAULTS = {BACKENDS: "auto", FORMATS: "auto", TEMPLATES: "auto", METHODS: "sft"}
"""Value of each key that needs no other package."""

T = TypeVar("T")


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """Entry points of a group by name. Imports none of the packages."""
    return {entry.name: entry for entry in entry_points(group=group)}


def summary(group: str, name: str) -> str:
    """The line in which the package of an entry point says what it is; imports nothing of it."""
    entry = installed(group)[name]
    found = entry.dist.metadata["Summary"] if entry.dist else None
    if found:
        return printable(str(found))
    return f"From the package {entry.dist.name if entry.dist else entry.value}."


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


def resolved(target: str | T) -> T:
    """The object that a descriptor names as `module:name`, imported now, or the object that it holds itself."""
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return cast(T, getattr(import_module(module), name))
