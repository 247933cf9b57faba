"""`ft plan --backend all`: one recipe on every backend, as a table."""

import sys
from typing import TYPE_CHECKING

from engine.planning.comparison import Column, Comparison
from engine.units import size

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

STYLES = {"direct": "", "emulated": "yellow", "refused": "bold red"}


def show(comparison: Comparison, as_json: bool) -> None:
    """Print the comparison as a table for people, or as JSON."""
    if as_json:
        sys.stdout.write(comparison.to_json())
        return
    from ft.console import out

    out().print(table(comparison))


def table(comparison: Comparison) -> "Group":
    """A row for each key, a column for each backend, and below why each runs here or does not."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    columns = comparison.columns
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("train.yml", style="bold", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for column in columns:
        shown.add_column(column.backend, header_style="bold")
    for key, value in comparison.values.items():
        # A list, as [q_proj], is not markup.
        shown.add_row(key, Text(value), *(cell(column, key, value) for column in columns))
    shown.add_row()
    shown.add_row("resumes", "", *("to the bit" if one.exact_resume else "closely" for one in columns))
    shown.add_row("peak memory", "", *(memory(column) for column in columns))
    shown.add_row("runs here", "", *("no" if one.plan is None else f"on {one.device}" for one in columns))
    lines = [Text(f"{one.backend}: {standing(one)}") for one in columns]
    plans = [one.plan for one in columns if one.picked and one.plan is not None]
    lines += [Text(f"warning: {notice}", "yellow") for plan in plans for notice in plan.warnings]
    return Group(shown, "", *lines)


def cell(column: Column, key: str, value: str) -> "Text":
    """The backend's support of the value, after the value that `auto` became."""
    from rich.text import Text

    found, settled = column.keys[key], column.settled[key]
    front = {"true": "on, ", "false": "off, "}.get(settled, f"{settled}, ") if settled != value else ""
    note = f": {found.note}" if found.note else ""
    return Text(f"{front}{found.support}{note}", STYLES[found.support])


def memory(column: Column) -> str:
    """The predicted peak of what the device can give."""
    if column.plan is None:
        return "–"
    return f"{size(column.plan.memory.peak_bytes)} of {size(column.plan.limit_bytes)}"


def standing(column: Column) -> str:
    """A line on whether it trains this, or why not, and what to do."""
    if column.picked:
        return f"trains this recipe ({column.note})."
    if column.problem:
        return f"cannot train it here. {column.problem.rstrip('.')}. {column.hint}".strip()
    return (
        f"could train it, where the recipe says backend: {column.backend} ({column.unasked or column.note})."
    )
