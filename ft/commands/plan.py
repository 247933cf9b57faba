"""`ft plan`: what a recipe will do, need and take, without training."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.config.load import load_recipe
from engine.errors import CheckFailed, ConfigError
from engine.planning.comparison import Comparison
from engine.planning.estimate import estimate, estimate_all
from engine.planning.plan import Plan
from engine.planning.ways import TYPICAL_TOKENS
from engine.runs.directory.start_adapter import start_of
from engine.units import size
from ft.commands.plan_backends import show
from ft.progress_bar import fetching

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

RECIPE = Path("train.yml")
BAR = 30
"""Cells of the longest memory bar."""


def plan(
    config: Annotated[Path | None, typer.Argument(help="The recipe (train.yml).", show_default=False)] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Plan for a model, not a recipe: starter, a folder or a hub id, whose weights are not fetched.",
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(min=8, max=1_048_576, metavar="TOKENS", help="With --model: length of the rows (512)."),
    ] = None,
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
    """Say what a recipe, or training a model, will do, need and take, without training."""
    changes = [*(overrides or []), *([] if backend in (None, "all") else [f"backend={backend}"])]
    if backend == "all" and check:
        raise ConfigError(
            "--check is for one plan, and --backend all compares several", "Leave one of them out."
        )
    if model is None:
        estimates = _of_recipe(config or RECIPE, changes, length)
    elif config is None:
        estimates = _of_model(model, changes, length or TYPICAL_TOKENS)
    else:
        raise ConfigError(
            "--model plans without a recipe, and one is given",
            f"Leave one of them out, or plan the recipe with this model: --set model.base={model}",
        )
    if backend == "all":
        show(estimates.all(), json)
        return
    settled = estimates.one()
    if json:
        sys.stdout.write(settled.to_json())
    else:
        from ft.console import out

        out().print(report(settled))
    if check and settled.fits == "no":
        raise CheckFailed("This recipe does not fit into this machine's memory.", "; ".join(settled.advice))


@dataclass(frozen=True)
class _Estimates:
    """Plans that are made when they are asked for: the one that would train, or one for every backend."""

    one: Callable[[], Plan]
    all: Callable[[], Comparison]


def _of_recipe(config: Path, changes: Sequence[str], length: int | None) -> _Estimates:
    if length is not None:
        raise ConfigError("--length is for --model; a recipe's own rows have their lengths", "Leave it out.")
    recipe = load_recipe(config, changes).config

    def one() -> Plan:
        with fetching() as progress:
            return estimate(recipe, progress, start_of(recipe))

    def every() -> Comparison:
        with fetching() as progress:
            return estimate_all(recipe, progress, start_of(recipe))

    return _Estimates(one, every)


def _of_model(model: str, changes: Sequence[str], tokens: int) -> _Estimates:
    """Estimates for a recipe that names a model and nothing else, and rows of one length."""
    from engine.planning.model_plan import ModelPlan

    found = ModelPlan.of(model, changes, tokens)
    return _Estimates(found.one, found.all)


def report(plan: Plan) -> "Group":
    """Format a plan for a terminal: choices with reasons, memory by part, changes that would make it fit, warnings."""
    from rich.console import Group
    from rich.text import Text

    advice = [Text(f"  • {line}") for line in plan.advice]
    if advice:
        advice.insert(0, Text("\nWhat would make it fit:", style="bold"))
    warnings = [Text(f"\nwarning: {notice}", style="yellow") for notice in plan.warnings]
    return Group(
        _table(plan.lines()), "", _table(memory(plan)), Text(f"\n{verdict(plan)}"), *advice, *warnings
    )


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
