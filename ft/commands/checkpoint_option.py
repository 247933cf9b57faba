"""Option `--checkpoint` of the commands that take something trained."""

from pathlib import Path
from typing import Annotated

import typer

from engine.errors import ConfigError
from engine.runs.directory import checkpoints
from engine.runs.directory.run import Run

CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint", metavar="best|last|N", help="A checkpoint of the run: best, last, or a step."
    ),
]


def checkpoint_of(reference: str, which: str) -> str:
    """Path of a run's checkpoint: `best`, `last`, or that of a step. Raises ConfigError that says which there are."""
    run = Run.open(reference)
    there = checkpoints.whole(run.checkpoints)
    steps = [checkpoints.step_of(each) for each in there]
    found: Path | None
    if which in ("best", "last"):
        found = checkpoints.named(run.checkpoints, which)
    else:
        found = next((each for each, step in zip(there, steps, strict=True) if str(step) == which), None)
    if found is None:
        listed = ", ".join(map(str, steps)) or "none"
        raise ConfigError(
            f"Run {run.id} has no checkpoint {which}.", f"There are best, last, or a step of: {listed}."
        )
    return str(found)
