"""`ft train`, `ft attach`, `ft stop`: start a run, watch it, end it."""

import time
from pathlib import Path
from typing import Annotated

import typer

from engine.config.load import load_recipe
from engine.errors import ConfigError
from engine.process import launcher
from engine.process.preflight import check
from engine.runs.directory import control
from engine.runs.directory.run import Run
from ft.console import say
from ft.watch import attach_to_end, follow_to_end, interrupts_wait, view_of

RECIPE = Path("train.yml")
Json = Annotated[bool, typer.Option("--json", help="Print the run's events, one JSON object a line.")]
Plain = Annotated[bool, typer.Option("--plain", help="One line an event instead of the live view.")]
RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="An id, a prefix of one, or a path; the latest if left out."),
]


def train(
    config: Annotated[Path | None, typer.Argument(help="The recipe; train.yml if left out.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe.")
    ] = None,
    json: Json = False,
    plain: Plain = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the run's id and leave it training.")
    ] = False,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="The run's folder, new or empty.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Resume a stopped run, or from a checkpoint."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train even where memory is too small, or the data have errors.")
    ] = False,
) -> None:
    """Train a model as train.yml says. Ctrl-c stops with a checkpoint; twice stops immediately."""
    if resume is not None:
        if config or overrides or run_dir:
            raise ConfigError(
                "--resume uses the run's own recipe, so CONFIG, --set and --run-dir cannot be given.",
                "To train with another recipe, start a new run.",
            )
        stopped = Run.open(resume)
        check(stopped.config)
    else:
        recipe = load_recipe(config or RECIPE, overrides or [])
        check(recipe.config)
    with interrupts_wait() as interrupted:  # from here on; checking may take long, and ctrl-c ends it
        if resume is not None:
            engine = launcher.resume(stopped, force=force, check=_checked)
        else:
            engine = launcher.launch(recipe, run_dir, force=force, check=_checked, cancelled=interrupted)
        run = engine.run
        if detach and not interrupted():
            print(run.id)
            say(f"Training continues in the background. Watch: ft attach {run.id}   Stop: ft stop {run.id}")
            return
        if not json:
            say(f"run {run.id} in {run.folder}")
        code = follow_to_end(engine, view_of(run, json, plain), interrupted)
    raise typer.Exit(code)


def _checked() -> None:
    """The check that came before."""


def attach(run: RunArgument = None, json: Json = False, plain: Plain = False) -> None:
    """Watch a run that is training. Ctrl-c leaves it training."""
    found = _training(run) or Run.open(run)
    raise typer.Exit(attach_to_end(found, view_of(found, json, plain)))


def stop(run: RunArgument = None) -> None:
    """Stop a run; it leaves a full checkpoint. Returns when it has ended."""
    found = _training(run)
    if found is None:
        state = Run.open(run).state()
        raise ConfigError(
            f"Run {Run.open(run).id} is not running; it is {state.status}." if run else "No run is running.",
            "See them all with: ft runs list",
        )
    control.send(found, "stop")
    say(f"Stopping {found.id}{' after a checkpoint' if found.kind == 'train' else ''} …")
    while found.alive():
        time.sleep(0.1)
    state = found.state()
    where = f" at step {state.step}" if found.kind == "train" else ""
    say(f"It is {state.status}{where}. {found.how_to_resume}")


def _training(reference: str | None) -> Run | None:
    """The run that is meant if it is training; without a reference, the latest that is."""
    if reference is None:
        return next((run for run in Run.all() if run.alive()), None)
    run = Run.open(reference)
    return run if run.alive() else None
