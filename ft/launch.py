"""Start and stop runs for the app. Blocks, so it is called in threads; the engines run on without the app."""

from collections.abc import Sequence
from pathlib import Path

from engine.config.load import load_text
from engine.errors import ConfigError
from engine.process import launcher
from engine.process.launcher import Engine
from engine.runs.directory import control
from engine.runs.directory.run import Run
from engine.runs.index.index import RunSummary
from engine.service.client import Client

UNSAVED = "train.yml"
"""Name of a text that has no file yet: its relative paths start at the current folder."""


def launch(text: str, path: Path | None, client: Client) -> Engine:
    """Check a recipe's text, make a run of it and start its engine. Raises FtError where any of that fails."""
    place = (path or Path.cwd() / UNSAVED).absolute()
    return launcher.launch(load_text(text, place), check=lambda: client.check(text, place))


def relaunch(run_id: str, checkpoint: Path | None, client: Client) -> Engine:
    """Start a run's engine again, from its last checkpoint or a given one; one that is no training begins anew.

    Raises FtError where that fails, ConfigError where nothing is left to do.
    """
    run = Run.open(run_id)
    if run.kind != "train":
        if run.state().status == "completed":
            raise ConfigError(f"{run.id} is completed; nothing is left to do.", "Start another: u in Runs.")
        return launcher.start(run)
    recipe = run.folder / "train.yml"
    text = recipe.read_text(encoding="utf-8") if recipe.is_file() else ""
    return launcher.resume(run, checkpoint, check=lambda: client.check(text, recipe))


def stop_all(live: Sequence[RunSummary]) -> None:
    """Ask the engines to stop, a training's with a checkpoint, without waiting for them. Raises MachineError."""
    for run in live:
        control.send(Run(run.folder, run.id), "stop")


def farewell(live: Sequence[RunSummary], stopped: bool) -> str:
    """Text for the terminal about runs that a person left; each command on a line, to be copied."""
    if stopped:
        lines = [
            f"{run.name} stops after a checkpoint.\n  resume  ft train --resume {run.id}"
            if run.kind == "train"
            else f"{run.name} stops.\n  {Run(run.folder, run.id).how_to_resume}"
            for run in live
        ]
    else:
        lines = [
            f"{run.name} continues in the background.\n  watch  ft attach {run.id}\n  stop   ft stop {run.id}"
            for run in live
        ]
    return "\n".join(lines)
