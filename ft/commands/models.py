"""`ft models list | show | pull | convert | rm`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine import paths
from engine.errors import ConfigError, FtError
from engine.models import catalogue
from engine.planning.ways import METHODS
from engine.units import size
from ft import columns
from ft.commands.convert import convert
from ft.commands.models_architectures import architectures
from ft.commands.models_names import names
from ft.commands.models_search import search
from ft.commands.models_show import STATES, facts_of, here, hub_id, more_of, show
from ft.commands.models_verify import verify
from ft.console import print_json, say

if TYPE_CHECKING:
    from engine.jobs.download import Download
    from engine.planning.model_table import Line
    from engine.runs.directory.run import Run

app = typer.Typer(help="List, fetch, convert and remove models.", no_args_is_help=True, add_completion=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="starter, a hub id, or a model's folder.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the models on this machine, and what each fits here: LoRA, QLoRA, full training."""
    if json:
        from engine.planning.trainability import TrainableModels

        print_json([facts_of(model.entry) | more_of(model) for model in TrainableModels().list()])
        return
    from engine.planning import model_table

    titles = ("model", "parameters", "architecture", "weights", "size", *METHODS, "state")
    columns.show(titles, [_row(line) for line in model_table.lines()])


def _row(line: "Line") -> list[columns.Cell]:
    about = line.about
    known = about.parameters is not None
    told = (f"{about.parameters:,}", about.architecture, about.held) if known else ("-", "-", "-")
    state = STATES[line.entry.state] if about.readable else "cannot be read"
    here = (line.fits.get(method, "-") for method in METHODS)
    return [(text, "") for text in (line.entry.name, *told, size(line.entry.bytes or None), *here, state)]


app.command()(search)
app.command()(names)
app.command()(architectures)
app.command()(show)


@app.command()
def pull(
    name: Name,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Read pickled weights, in a process of their own, and keep them as safetensors among the models.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Fetch a model so that it can be used without network; ctrl-c keeps what has come for the next time."""
    from engine.jobs.download import Download
    from engine.models.resolve import is_hub_id, on_disk, resolve

    name = hub_id(name)
    if allow_pickle and not is_hub_id(name):
        name = str(Path(name).expanduser().absolute())
    download = Download(name, revision, allow_pickle)
    if download.fetches:
        shown, found = name, _fetch(download)
        folder = found or (paths.models() / Path(name).name if allow_pickle else on_disk(name, revision))
        commit = folder.name if is_hub_id(name) and not allow_pickle else None
    else:  # nothing to fetch
        model = resolve(name, revision)
        shown, folder, commit = model.name, model.folder, model.revision
    say(f"{shown} is ready" + (f" at revision {commit}." if commit else "."))
    print_json({"model": shown, "folder": str(folder), "revision": commit}) if json else print(folder)


def _fetch(download: "Download") -> Path | None:
    """Have an engine fetch a model, and show how far it is; returns its folder, None where the run has gone.

    A download of it that is under way is followed. Raises Exit where it was stopped, or is followed no more.
    """
    from engine.process.launcher import start
    from ft.progress_bar import FetchingView
    from ft.watch import attach_to_end, follow_to_end, interrupts_wait

    if (under_way := download.running()) is not None:
        say(f"{download.model} is being downloaded already; ctrl-c leaves that running.")
        return _folder_of(download, under_way, lambda: attach_to_end(under_way, FetchingView()))
    with interrupts_wait() as interrupted:
        run = download.create()
        engine = start(run)
        return _folder_of(download, run, lambda: follow_to_end(engine, FetchingView(), interrupted))


def _folder_of(download: "Download", run: "Run", followed: Callable[[], int]) -> Path | None:
    """Where the model is, once a run is followed to its end. Raises Exit with `followed`'s code where that is not 0."""
    try:
        code = followed()
    except FtError:
        if run.events_file.exists():
            raise
        code = 0  # another command, or the app, has followed it too, and removed the run as completed
    if code:
        raise typer.Exit(code)
    folder = download.folder(run)
    download.forget(run)
    return folder


app.command()(verify)
app.command()(convert)


@app.command()
def rm(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, json: Json = False
) -> None:
    """Remove a model from this disk."""
    entry = here(name)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"Removing {entry.name} needs confirmation.", "Add --yes.")
        if not typer.confirm(f"Remove {entry.name} ({size(entry.bytes or None)}) from this disk?", err=True):
            raise typer.Exit(130)
    catalogue.remove(entry)
    say(f"{entry.name} is removed.")
    if json:
        print_json({"model": entry.name, "folder": str(entry.folder), "freed_bytes": entry.bytes})
