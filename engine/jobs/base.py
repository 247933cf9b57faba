"""JobContext: what a job gets from the engine process that does it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import addresses, plugins, secrets
from engine.runs.directory.control import Control
from engine.runs.directory.events import Phase
from engine.runs.directory.run import Run

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig

TELL_EVERY_S = 0.5
"""Least time between two events of one download or conversion."""


def secrets_of(config: "TrainConfig") -> tuple[str, ...]:
    """Names of the tokens that a recipe may need: for its model, and for its rows."""
    from engine.config.recipe_paths import sources

    of_addresses = addresses.names(config.data.model_dump_json())
    of_sources = secrets_of_rows(path for _, path in sources(config))
    return tuple(dict.fromkeys((*of_addresses, *secrets_of_base(config.model.base), *of_sources)))


def secrets_of_base(base: str | Path) -> tuple[str, ...]:
    """Names of the tokens that a base may need: the hub's, where it is from there."""
    from engine.models.resolve import is_hub_id

    return (secrets.HF_TOKEN,) if isinstance(base, str) and is_hub_id(base) else ()


def secrets_of_rows(sources: Iterable[str]) -> tuple[str, ...]:
    """Names of the tokens that sources of rows may need: the hub's, and what another package's source names.

    Raises MachineError where that package does not load.
    """
    from engine.config.recipe_paths import HUB, scheme

    found: list[str] = []
    for source in sources:
        if source.startswith(HUB):
            found.append(secrets.HF_TOKEN)
        elif (kind := scheme(source)) in plugins.installed(plugins.SOURCES):
            found += plugins.secrets_of(plugins.load(plugins.SOURCES, kind))
    return tuple(dict.fromkeys(found))


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """A person stopped the job before it had anything to save."""


@dataclass(frozen=True)
class JobContext:
    """A run whose lock is held, and the commands for it."""

    run: Run
    control: Control
    resume: Path | None = None
    """Checkpoint to resume from, for a job that has any."""
    force: bool = False
    """Go on in spite of what a job would refuse."""

    def poll(self) -> None:
        """Obey the commands that are there; a paused job waits here. Raises Stopped where it is to end."""
        self.control.poll()
        if self.control.stop_requested:
            raise Stopped

    def loading(self) -> Callable[[str, int, int], None]:
        """Callback for the progress of a download, which is reported now and then; a command is obeyed in between."""
        told = 0.0

        def progress(what: str, done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= TELL_EVERY_S or done == total:
                told = time.monotonic()
                self.run.emit(Phase(name="loading", done=done, total=total, note=what))
            self.poll()

        return progress
