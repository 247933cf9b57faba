"""Argument MODEL of the commands that take something trained (a run, a checkpoint, or a folder of weights), and options
that several of them have."""

from pathlib import Path
from typing import Annotated

import typer

from engine.errors import ConfigError
from engine.runs.directory.run import Run

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        help="A run, checkpoint, adapter's or model's folder, starter or hub id; the latest run if left out."
    ),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="best|last|N", help="Weights of this checkpoint of the run."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def reference_of(model: str | None, checkpoint: str | None = None) -> str:
    """What `TrainedModel.find` takes, good in any folder: a path is made absolute, None is the latest run.

    With `checkpoint` (`best`, `last` or a step), the folder of that one. Raises ConfigError where there is none.
    """
    if checkpoint is not None:
        return str(_checkpoint(_run(model), checkpoint))
    if model is None:
        return str(Run.open().folder)
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model


def _run(model: str | None) -> Run:
    try:
        return Run.open(model)
    except ConfigError as error:
        if model is None or not Path(model).is_dir():
            raise
        raise ConfigError(
            f"{model} is not a run, so it has no checkpoints.", "Leave --checkpoint out."
        ) from error


def _checkpoint(run: Run, name: str) -> Path:
    from engine.runs.directory.checkpoints import name_of, named, step_of, whole

    there = whole(run.checkpoints)
    folder = run.checkpoints / name_of(int(name)) if name.isdecimal() else named(run.checkpoints, name)
    if folder not in there:
        steps = ", ".join(str(step_of(path)) for path in there)
        hint = f"It has checkpoints of the steps {steps}, and best and last." if there else "It has none yet."
        raise ConfigError(f"Run {run.id} has no checkpoint {name}.", hint)
    return folder
