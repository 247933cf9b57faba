"""Parts of ft by entry point, its own and other packages': known by name, imported only when one is asked for."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from engine.errors import MachineError

BACKENDS, FORMATS, TEMPLATES, SOURCES = "ft.backends", "ft.formats", "ft.templates", "ft.sources"
KEYS = {BACKENDS: "backend", FORMATS: "data.format", TEMPLATES: "model.chat_template", SOURCES: "source"}
"""The groups of entry points, and the key of a recipe that names one of each."""
OWN = (
    EntryPoint("mlx", "engine.backends.mlx.spec:SPEC", BACKENDS),
    EntryPoint("unsloth", "engine.backends.unsloth.spec:SPEC", BACKENDS),
    EntryPoint("peft", "engine.backends.torch.spec:SPEC", BACKENDS),
)
"""What ft itself brings, as entry points."""


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """By the name that a recipe gives, ft's own first; nothing of theirs is imported for it."""
    own = {entry.name: entry for entry in OWN if entry.group == group}
    others = sorted(entry_points(group=group), key=lambda entry: entry.name)
    return own | {entry.name: entry for entry in others if entry.name not in own}


def load(group: str, name: str) -> Any:
    """The object that the entry point names. Raises MachineError where its package does not import."""
    entry, key = installed(group)[name], KEYS[group]
    try:
        return entry.load()
    except Exception as error:  # another package's code may fail in any way while it is imported
        package = entry.dist.name if entry.dist else entry.value
        raise MachineError(
            f"{key}: {name} does not load: {error}",
            f"Install the package {package} again" + ("." if group == SOURCES else f", or use {key}: auto."),
        ) from error
