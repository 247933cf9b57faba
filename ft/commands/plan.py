"""`ft plan`: what a recipe will do, need and take, without training."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.config.load import load_recipe
from engine.errors import CheckFailed, ConfigError
from engine.planning.estimate import estimate, estimate_all
from engine.planning.plan import Plan
from engine.runs.directory.start_adapter import start_of
from engine.units import size
from ft.commands.plan_backends import show
from ft.progress_bar import fetching

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

BAR = 30
"""Cells of the longest memory bar."""


def plan(
    config: Annotated[Path, typer.Argument(help="The recipe.")] = Path("train.yml"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option("--backend", metavar="NAME", help="Plan for this backend; `all` compares them."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if it does not fit.")] = False,
) -> None:
    """Say what a recipe will do, need and take, without training."""
    changes = [*(overrides or []), *([] if backend in (None, "all") else [f"backend={backend}"])]
    recipe = load_recipe(config, changes).config
    if backend == "all":
        if check:
            raise ConfigError(
                "--check is for one plan, and --backend all compares several", "Leave one of them out."
            )
        with fetching() as progress:
            compared = estimate_all(recipe, progress, start_of(recipe))
        show(compared, json)
        return
    with fetching() as progress:
        settled = estimate(recipe, progress, start_of(recipe))
    if json:
        sys.stdout.write(settled.to_json())
    else:
        from ft.console import out

        out().print(report(settled))
    if check and settled.fits == "no":
        raise CheckFailed("This recipe does not fit into this machine's memory.", "; ".join(settled.advice))


def report(plan: Plan) -> "Group":
    """Format a plan for a terminal: choices with reasons, memory by part, changes that would make it fit."""
    from rich.console import Group
    from rich.text import Text

    advice = [Text(f"  • {line}") for line in plan.advice]
    if advice:
        advice.insert(0, Text("\nWhat would make it fit:", style="bold"))
    return Group(_table(plan.lines()), "", _table(memory(plan)), Text(f"\n{verdict(plan)}"), *advice)


def _table(rows: Sequence[tuple[str, str, str]]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for row in rows:
        table.add_row(*map(Text, row))  # a path or a list in brackets is not markup
    return table


def memory(plan: Plan) -> list[tuple[str, str, str]]:
    """(part, its size, a bar), the bars to the scale of the largest part."""
    sizes = plan.memory.parts
    most = max(max(sizes.values()), 1)
    return [(name, size(part), "█" * math.ceil(BAR * part / most)) for name, part in sizes.items()]


def verdict(plan: Plan) -> str:
    """One line: the peak, the limit, and whether it fits."""
    peak, limit = size(plan.memory.peak_bytes), size(plan.limit_bytes)
    words = {"yes": "It fits", "tight": "It may fit, barely", "no": "It does not fit"}[plan.fits]
    return f"{words}: peak memory {peak} of {limit}."
