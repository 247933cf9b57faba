"""Argument MODEL of the commands that take something trained: a run, a checkpoint, or a folder of weights."""

from pathlib import Path
from typing import Annotated

import typer

from engine.runs.directory.run import Run

ModelArgument = Annotated[
    str | None,
    typer.Argument(help="A run, checkpoint, adapter or model's folder; the latest run if left out."),
]


def reference_of(model: str | None) -> str:
    """What `TrainedModel.find` takes, good in any folder: a path is made absolute, None is the latest run."""
    if model is None:
        return str(Run.open().folder)
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model
