"""Requests to show something on a screen, as values: `Host.open` shows the screen and hands the intent to it.

A screen that asks for another one knows its intent, and nothing else of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from screens.recipe.unsaved import LeftBehind


@dataclass(frozen=True)
class Intent:
    """The base of all intents. A screen takes those with its scope in `receive`."""

    scope: ClassVar[str]


@dataclass(frozen=True)
class ShowRun(Intent):
    """Show a run in Monitor, whatever state it is in."""

    scope = "monitor"
    run_id: str


@dataclass(frozen=True)
class EditRecipe(Intent):
    """Edit a recipe file, or a text that is not saved; with neither, whatever is open."""

    scope = "recipe"
    path: Path | None = None
    text: str | None = None
    left: "LeftBehind | None" = None
    """Source of a text that an app had not saved; it is removed once the text is open."""


@dataclass(frozen=True)
class ChatWith(Intent):
    """Chat with the model of a run or a checkpoint."""

    scope = "chat"
    reference: str
    """A run's id, a prefix of one, or a path."""


@dataclass(frozen=True)
class ShowData(Intent):
    """Show the rows of a file, of a folder's files, or of the starter."""

    scope = "datasets"
    source: str
