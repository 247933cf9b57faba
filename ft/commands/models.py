"""`ft models list | show | pull | convert | rm`."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import ConfigError, FtError, ModelError
from engine.models import catalogue
from engine.models.catalogue import Entry
from engine.planning.feasibility import METHODS, TYPICAL_TOKENS
from engine.units import size
from ft.commands.convert import convert
from ft.console import out, print_json, say

if TYPE_CHECKING:
    from engine.jobs.download import Download
    from engine.planning.feasibility import Fit
    from engine.planning.trainability import Model

app = typer.Typer(help="List, fetch, convert and remove models.", no_args_is_help=True, add_completion=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="starter, a hub id, or a model's folder.")]
STATES = {
    "ready": "ready",
    "packaged": "installed; converted when first used",
    "absent": "not here; ft models pull starter",
    "incomplete": "incomplete; pull it again",
}


@app.command("list")
def list_(json: Json = False) -> None:
    """List the models on this machine, and what each fits here: LoRA, QLoRA, full training."""
    from engine.planning.trainability import TrainableModels

    found = TrainableModels().list()
    if json:
        print_json([_facts(model.entry) | _more(model) for model in found])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("model", "parameters", "architecture", "weights", "size", *METHODS, "state"):
        table.add_column(title, no_wrap=True)
    for model in found:
        card, fits = model.card, {fit.method: fit.fits for fit in model.fits}
        about = (
            (f"{card.shape.parameters:,}", card.shape.architecture, card.held) if card else ("-", "-", "-")
        )
        state = "cannot be read" if model.problem else STATES[model.entry.state]
        here = (fits.get(method, "-") for method in METHODS)
        table.add_row(model.entry.name, *about, size(model.entry.bytes or None), *here, state)
    out().print(table)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show what a model is, and the memory that training it takes here."""
    from engine.models.resolve import fingerprint
    from engine.planning.trainability import TrainableModels

    entry = catalogue.find(name)
    if entry.folder is None:
        raise ModelError(f"The {entry.name} is {STATES[entry.state]}.", f"Run: ft models pull {entry.name}")
    model = TrainableModels().of(entry)
    if model.problem is not None:
        raise model.problem
    card = model.card
    if card is None:
        raise ModelError(f"{entry.name} is {STATES[entry.state]}.", f"Run: ft models pull {entry.name}")
    shape = card.shape
    if json:
        body = (
            _facts(entry) | _more(model) | {"shape": asdict(shape), "fingerprint": fingerprint(entry.folder)}
        )
        print_json(body)
        return
    layers = ", ".join(dict.fromkeys(linear.name for linear in shape.linears))
    rows = {
        "model": entry.name,
        "folder": str(entry.folder),
        "revision": entry.revision,
        "size": size(entry.bytes or None),
        "licence": card.licence or "not stated in its folder",
        "architecture": shape.architecture,
        "parameters": f"{shape.parameters:,} in {card.held}",
        "of a token": f"{shape.active_parameters:,}, those of the experts that it goes through among them"
        if shape.idle_parameters
        else None,
        "layers": f"{shape.layers}, hidden size {shape.hidden}",
        "attention": f"{shape.heads} heads of {shape.head_dim}, {shape.kv_heads} for keys and values",
        "vocabulary": f"{shape.vocab:,}" + (", output tied to the embedding" if shape.tied else ""),
        "context": f"{shape.context:,} tokens" if shape.context else None,
        "template": card.template or "none",
        "linear layers": layers,
    } | {fit.method: _in_words(fit) for fit in model.fits}
    width = max(map(len, rows))
    for label, value in rows.items():
        if value is not None:
            print(f"{label:<{width}}   {value}")


@app.command()
def pull(
    name: Name,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
) -> None:
    """Fetch a model so that it can be used without network; ctrl-c keeps what has come for the next time."""
    from engine.jobs.download import Download
    from engine.models.resolve import is_hub_id, on_disk, resolve

    download = Download(name, revision)
    if download.fetches:
        _fetch(download)
        shown, folder = name, on_disk(name, revision)
        commit = folder.name if is_hub_id(name) else None
    else:  # nothing to fetch
        model = resolve(name, revision)
        shown, folder, commit = model.name, model.folder, model.revision
    say(f"{shown} is ready" + (f" at revision {commit}." if commit else "."))
    print(folder)


def _fetch(download: "Download") -> None:
    """Have an engine fetch a model, and show how far it is. Raises Exit where it was stopped."""
    from engine.process.launcher import start
    from ft.progress_bar import FetchingView
    from ft.watch import follow_to_end, interrupts_wait

    with interrupts_wait() as interrupted:
        run = download.create()
        engine = start(run)
        try:
            code = follow_to_end(engine, FetchingView(), interrupted)
        except FtError:
            if run.events_file.exists():
                raise
            code = 0  # the app has followed it too, and removed the run as completed
    if code:
        raise typer.Exit(code)
    download.forget(run)


app.command()(convert)


@app.command()
def rm(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a model from this disk."""
    entry = catalogue.find(name)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"Removing {entry.name} needs confirmation.", "Add --yes.")
        if not typer.confirm(f"Remove {entry.name} ({size(entry.bytes or None)}) from this disk?", err=True):
            raise typer.Exit(130)
    catalogue.remove(entry)
    say(f"{entry.name} is removed.")


def _facts(entry: Entry) -> dict[str, Any]:
    return asdict(entry) | {"folder": str(entry.folder) if entry.folder else None, "base": entry.base}


def _more(model: "Model") -> dict[str, Any]:
    """Facts about a model besides its place on the disk."""
    card, problem = model.card, model.problem
    return {
        "parameters": card and card.shape.parameters,
        "architecture": card and card.shape.architecture,
        "weights": card and card.held,
        "licence": card and card.licence,
        "template": card and card.template,
        "fits": {fit.method: fit.fits for fit in model.fits},
        "peak_bytes": {fit.method: fit.plan.memory.peak_bytes for fit in model.fits if fit.plan},
        "problem": problem and problem.message,
    }


def _in_words(fit: "Fit") -> str:
    if fit.plan is None:
        return f"no: {fit.reason}"
    peak, limit = size(fit.plan.memory.peak_bytes), size(fit.plan.limit_bytes)
    return f"{fit.fits}: {peak} of {limit} at its peak, with rows of {TYPICAL_TOKENS} tokens"
