"""RunSummary: the figures of a run that lists show, filters ask about and comparisons set side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.runs.directory.state import RunState
from engine.runs.directory.totals import Totals


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance, however long it is."""

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
    totals: Totals = field(default_factory=Totals)
    config: Mapping[str, Any] = field(default_factory=dict)
    """The resolved recipe by dotted key: `training.learning_rate` and so on; empty where it cannot be read."""
    kind: str = "train"
    """Kind of its job: a module of `engine.jobs`."""
    damaged: str = ""
    """Problem with the directory; empty where there is none."""

    @property
    def tags(self) -> list[str]:
        """The recipe's tags."""
        tags = self.config.get("tags")
        return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
