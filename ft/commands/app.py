"""`ft tui`, which plain `ft` on a terminal is too, and `ft monitor`: the full-screen app."""

import sys
from typing import Annotated

import typer

from engine.errors import ConfigError

RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="An id, a prefix of one, or a path; what trains if left out."),
]


def tui() -> None:
    """Open the full-screen app: models, data, recipe, training live, runs, chat."""
    _open("home", None, only=False)


def monitor(run: RunArgument = None) -> None:
    """Watch a run and the machine, full screen. Without a run: what trains, or the machine alone.

    Leaving does not end the run.
    """
    found = None
    if run is not None:
        from engine.runs.directory.run import Run

        found = Run.open(run).id
    _open("monitor", found, only=True)


def _open(start: str, run: str | None, only: bool) -> None:
    """Run the app to its end, and exit with its code. Raises ConfigError where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            "The full-screen app needs a terminal.",
            "Everything is also a plain command: ft train, ft attach --plain, ft runs list --json.",
        )
    from engine import secrets
    from ft.app import open_app

    secrets.ask_with(None)  # a question on the terminal would wait behind the app; Settings has a dialog
    raise typer.Exit(open_app(start, run, only))
