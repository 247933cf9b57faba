"""`ft push`: weights with their card, to a repository of the hub."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import ConfigError
from engine.process.launcher import start
from engine.runs.directory.run import Run
from engine.units import size
from ft import columns
from ft.commands.trained import reference_of
from ft.console import print_json, say

if TYPE_CHECKING:
    from engine.jobs.push import Push
    from engine.publishing.source import PushSource


def push(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run, checkpoint or exported folder; if left out, the latest run is shown and you are asked.",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="OWNER/NAME", help="The repository; made if missing.")
    ] = "",
    public: Annotated[
        bool,
        typer.Option("--public", help="Everybody may see it; without this, only you and your organisation."),
    ] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Message of the commit.")] = "Push with ft",
    revision: Annotated[str, typer.Option("--revision", help="Branch to push to; made if missing.")] = "main",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files and their sizes; asks and changes nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Push weights with their card to the hub. Stdout is the commit's address; ctrl-c keeps what was sent."""
    from engine.jobs.push import Push, token
    from engine.publishing.hub_errors import check_repo
    from engine.publishing.source import PushSource

    if not to:
        raise ConfigError("The repository to push to is missing.", "Name it: --to OWNER/NAME")
    if not message.strip():
        raise ConfigError("--message is empty.", "A commit needs a message.")
    check_repo(to)
    reference = reference_of(model)
    source = PushSource.find(reference)
    made = source.made(to)
    if dry_run:
        _list(source, made, to, json)
        return
    _ = source.files
    token()
    wanted = Push(reference, to, public, message, revision)
    if model is None:
        _confirm(source, wanted)
    _push(wanted, json)


def _list(source: "PushSource", made: dict[str, bytes], to: str, json: bool) -> None:
    sizes = source.files.sizes | {name: len(body) for name, body in made.items()}
    if json:
        left_out = list(source.files.left_out)
        print_json({"to": to, "folder": str(source.folder), "files": sizes, "left_out": left_out})
        return
    columns.show(("file", "size"), [[(name, ""), (size(sizes[name]), "")] for name in sorted(sizes)])
    say(f"{len(sizes)} files, {size(sum(sizes.values()))}, would be pushed to {to} from {source.folder}.")
    if source.files.left_out:
        say(f"Not pushed: {', '.join(source.files.left_out)}")


def _confirm(source: "PushSource", wanted: "Push") -> None:
    """Show the latest run, and ask. Raises ConfigError without a terminal, Exit where the answer is no."""
    run = Run.open(wanted.model)
    state = run.state()
    loss = "" if state.published_loss is None else f", validation loss {state.published_loss:.4f}"
    about = f"{run.id} ({state.status}, step {state.published or state.step}{loss})"
    if not sys.stdin.isatty():
        raise ConfigError(
            f"Pushing the latest run, {about}, has to be confirmed.",
            f"Name it: ft push {run.id} --to {wanted.to}",
        )
    seen = "public: everybody may see it" if wanted.public else "private"
    say(f"run     {about}\nfolder  {source.folder}\nto      {wanted.to} ({seen})")
    if not typer.confirm("Push it?", err=True):
        say("Nothing was pushed.")
        raise typer.Exit(130)


def _push(wanted: "Push", json: bool) -> None:
    from engine.jobs.push import PUSHED
    from ft.progress_bar import FetchingView
    from ft.watch import follow_to_end, interrupts_wait

    if (other := wanted.running()) is not None:
        raise ConfigError(
            f"{other.id} pushes this already.",
            f"Watch it with: ft attach {other.id}   End it with: ft stop {other.id}",
        )
    with interrupts_wait() as interrupted:
        run = wanted.create()
        say(f"Pushing {Path(wanted.model).name} to {wanted.to} …")
        code = follow_to_end(start(run), FetchingView(), interrupted)
    if code:
        raise typer.Exit(code)
    pushed = run.provenance[PUSHED]
    if json:
        print_json({"run": run.id} | pushed)
    else:
        print(pushed["url"])
