"""`ft track`: a run's events reported to another program."""

from typing import Annotated

import typer

from engine.runs.directory.run import Run
from ft.console import key_values, say


def track(
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The tracker, of another package.")],
    run: Annotated[str | None, typer.Argument(help="A run; the latest if left out.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the tracker; repeatable."),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Continue until the run has ended.")] = True,
) -> None:
    """Report a run to another program, from its first event on, also while it trains."""
    from engine.trackers.base import track as report
    from engine.trackers.base import tracker_named

    tracker = tracker_named(to)
    found = Run.open(run)
    say(f"Reporting {found.id} to {to}.")
    report(found, tracker, key_values(options or ()), follow=follow)
