"""All runs at a glance: a summary of each, kept between looks so that thousands cost little."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.runs.run import Run
from engine.runs.state import RunState


@dataclass(frozen=True)
class RunSummary:
    """What a list shows of a run, and what its filter asks about."""

    id: str
    folder: Path
    name: str
    created: float
    """Unix seconds."""
    alive: bool
    state: RunState
    losses: tuple[float, ...] = ()
    """Training loss, thinned to at most 32 points, for a sparkline."""
    tokens_per_s: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """The resolved recipe by dotted key: `training.learning_rate` and so on; empty where it cannot be read."""
    damaged: str = ""
    """What is wrong with the directory, where something is."""


class Index:
    """Looks at the runs folder again and again, and reads again only what has changed."""

    def refresh(self) -> tuple[RunSummary, ...]:
        """All runs, newest first. Never raises for what is in a run directory."""
        found = []
        for run in Run.all():
            state = run.state()
            found.append(
                RunSummary(run.id, run.folder, run.id[16:], state.started or 0.0, run.alive(), state)
            )
        return tuple(found)
