"""`ft models search`: models of the hub, with what each fits on this machine."""

from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from engine.errors import ConfigError
from engine.planning.ways import METHODS
from engine.units import short_count
from ft.console import err, out, print_json, say

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

    from engine.models.search import Found, Sort

FITS = {method.lower(): method for method in METHODS}
WAITING = "…"
WIDTHS = {"model": 28, "params": 6, "architecture": 12, "licence": 10, "downloads": 9, "changed": 10}
WIDTHS |= dict.fromkeys(METHODS, len("tight"))
"""Columns of the table, each with the characters that it should have."""
LEFT_OUT, GAP = ("changed", "downloads", "licence", "architecture"), 2
INTERRUPTED = 130


def search(
    text: Annotated[str, typer.Argument(help="Words of the model's name; empty for all.")] = "",
    architecture: Annotated[
        str | None, typer.Option(metavar="TYPE", help="model_type of its config.json, as qwen3.")
    ] = None,
    licence: Annotated[str | None, typer.Option(metavar="NAME", help="Licence, as apache-2.0.")] = None,
    gated: Annotated[
        bool | None, typer.Option("--gated/--open", help="Whether terms have to be accepted.")
    ] = None,
    quantised: Annotated[
        bool | None, typer.Option("--quantised/--unquantised", help="Whether the weights are quantised.")
    ] = None,
    instruct: Annotated[
        bool | None,
        typer.Option("--instruct/--base", help="Trained to answer, with a chat template, or not."),
    ] = None,
    smallest: Annotated[
        float | None, typer.Option("--min", min=0, metavar="B", help="Least parameters, in billions.")
    ] = None,
    largest: Annotated[
        float | None, typer.Option("--max", min=0, metavar="B", help="Most parameters, in billions.")
    ] = None,
    fits: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD", help="Only models that this machine can train so: lora, qlora or full."
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="ORDER", help="downloads, likes, newest or size.")
    ] = "downloads",
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most models that are listed.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the hub for models, and say what each fits on this machine; only configs are fetched."""
    from engine.models.search import SORTS, Query, search

    _one_of("--sort", sort, SORTS, "order")
    wanted = FITS[_one_of("--fits", fits.lower(), FITS, "method")] if fits else None
    query = Query(
        text, architecture, licence, gated, quantised, instruct, smallest, largest, cast("Sort", sort), limit
    )
    models = search(query)
    here, stopped = _fits_of(models, show=not json)
    kept = [
        one for one in models if wanted is None or here[one.name].get(wanted) in ("yes", "tight", WAITING)
    ]
    if json:
        print_json([asdict(model) | {"fits": here[model.name]} for model in kept])
    elif kept:
        out().print(_table(kept, here, out()))
    elif models:
        say(f"None of the {len(models)} models found fits that way.")
    else:
        say("No model of the hub suits.")
    if stopped:
        raise typer.Exit(INTERRUPTED)


def _one_of(option: str, value: str, known: Collection[str], what: str) -> str:
    if value not in known:
        raise ConfigError(f"{option} {value}: there is no such {what}", f"There are: {', '.join(known)}.")
    return value


def _fits_of(models: "list[Found]", show: bool) -> tuple[dict[str, dict[str, str]], bool]:
    """What each model fits here, by method, and whether ctrl-c has left out what had not arrived.

    On a terminal the table is there immediately, and fills as configs arrive.
    """
    from engine.hardware.probe import probe
    from engine.models.search import shapes
    from engine.planning.feasibility import fits_of

    machine, here = probe(), {model.name: dict.fromkeys(METHODS, WAITING) for model in models}

    def fill(shown: Any = None) -> None:
        for model, shape in shapes(models):
            fits = fits_of(shape, machine) if shape else ()
            here[model.name] = {fit.method: fit.fits for fit in fits} or dict.fromkeys(METHODS, "?")
            if shown is not None:
                shown.update(_table(models, here, err()))

    try:
        if not show or not err().is_terminal:
            fill()
        else:
            from rich.live import Live

            with Live(_table(models, here, err()), console=err(), transient=True) as shown:
                fill(shown)
    except KeyboardInterrupt:
        say("Stopped; what has not arrived is left open.")
        return here, True
    return here, False


def _columns(console: "Console") -> list[str]:
    """Titles of the columns that there is room for: a narrow terminal leaves facts out, never what fits."""
    columns = list(WIDTHS)
    for left_out in LEFT_OUT if console.is_terminal else ():
        if sum(WIDTHS[column] + GAP for column in columns) <= console.width + GAP:
            break
        columns.remove(left_out)
    return columns


def _table(models: "list[Found]", here: dict[str, dict[str, str]], console: "Console") -> "Table":
    from rich.table import Table

    columns = _columns(console)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for title in columns:
        numbers, whole = title in ("params", "downloads"), title in METHODS or title == "params"
        justify: JustifyMethod = "right" if numbers else "left"
        table.add_column(title, no_wrap=True, justify=justify, min_width=WIDTHS[title] if whole else None)
    for model in models:
        marks = [mark for mark, holds in (("gated", model.gated), ("quantised", model.quantised)) if holds]
        cells = {
            "model": model.name + (f" ({', '.join(marks)})" if marks else ""),
            "params": short_count(model.parameters) if model.parameters else "?",
            "architecture": model.architecture or "?",
            "licence": model.licence or "?",
            "downloads": short_count(model.downloads),
            "changed": model.changed,
        } | {method: here[model.name].get(method, "?") for method in METHODS}
        table.add_row(*(cells[column] for column in columns))
    return table
