"""Parts of ft by entry point, its own and other packages': known by name, imported only when one is asked for."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, cast

from engine.errors import MachineError
from engine.text import printable

BACKENDS, FORMATS, TEMPLATES, SOURCES = "ft.backends", "ft.formats", "ft.templates", "ft.sources"
METHODS, METRICS = "ft.methods", "ft.metrics"
COMMANDS, EXPORTERS, TRACKERS = "ft.commands", "ft.exporters", "ft.trackers"
ARCHITECTURES = "ft.architectures"
KEYS = {
    BACKENDS: "backend",
    FORMATS: "data.format",
    TEMPLATES: "model.chat_template",
    SOURCES: "source",
    METHODS: "training.method",
    METRICS: "evaluation.metrics",
    COMMANDS: "command",
    EXPORTERS: "exporter",
    TRACKERS: "tracker",
    ARCHITECTURES: "architecture",
}
"""The groups of entry points, and the key of a recipe, or the word, that names one of each."""
OWN = (
    EntryPoint("mlx", "engine.backends.mlx.spec:SPEC", BACKENDS),
    EntryPoint("unsloth", "engine.backends.unsloth.spec:SPEC", BACKENDS),
    EntryPoint("peft", "engine.backends.torch.spec:SPEC", BACKENDS),
)
"""ft's own parts, as entry points."""
DEFAULTS = {BACKENDS: "auto", FORMATS: "auto", TEMPLATES: "auto", METHODS: "sft"}
"""Value of each key that needs no other package."""

T = TypeVar("T")


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """By the name that a recipe gives, ft's own first; nothing of theirs is imported for it."""
    own = {entry.name: entry for entry in OWN if entry.group == group}
    others = sorted(entry_points(group=group), key=lambda entry: entry.name)
    return own | {entry.name: entry for entry in others if entry.name not in own}


def summary(group: str, name: str) -> str:
    """The line in which the package of an entry point says what it is; imports nothing of it."""
    entry = installed(group)[name]
    found = entry.dist.metadata["Summary"] if entry.dist else None
    if found:
        return printable(str(found))
    return f"From the package {entry.dist.name if entry.dist else entry.value}."


def load(group: str, name: str) -> Any:
    """The object that the entry point names. Raises MachineError where its package does not import."""
    entry, key = installed(group)[name], KEYS[group]
    try:
        return entry.load()
    except Exception as error:  # another package's code may fail in any way while it is imported
        package = entry.dist.name if entry.dist else entry.value
        raise MachineError(
            f"{key}: {name} does not load: {error}",
            f"Install the package {package} again" + _otherwise(group, name),
        ) from error


def load_as(group: str, name: str, kind: type[T]) -> T:
    """The object that the entry point names. Raises MachineError where it does not load, or is of another type."""
    found = load(group, name)
    if not isinstance(found, kind):
        wanted = f"an {kind.__module__}.{kind.__name__}"
        message = f"{KEYS[group]}: {name} names {type(found).__name__}, not {wanted}"
        otherwise = f"use {KEYS[group]}: {DEFAULTS[group]}" if group in DEFAULTS else "update or remove it"
        raise MachineError(message, f"Its package is for another version of ft; {otherwise}.")
    return found


def _otherwise(group: str, name: str) -> str:
    """The end of a hint to install a package again: what works without it."""
    if group == METRICS:
        return f", or leave {name} out."
    return f", or use {KEYS[group]}: {DEFAULTS[group]}." if group in DEFAULTS else "."


def secrets_of(part: Any) -> tuple[str, ...]:
    """Names of the tokens that a part says it needs, in its attribute `secrets`; none where it has no such list."""
    names = getattr(part, "secrets", ())
    return tuple(map(str, names)) if isinstance(names, tuple | list) else ()


def resolved(target: str | T) -> T:
    """The object that a descriptor names as `module:name`, imported now, or the object that it holds itself."""
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return cast(T, getattr(import_module(module), name))
