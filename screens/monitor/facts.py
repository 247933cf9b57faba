"""Names and values in two columns, and headings: how the page of a job is set."""

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Fact:
    """A value with its name."""

    name: str
    value: str | Text


def facts(*found: Fact | None, dim: bool = True) -> Table:
    """The facts below one another; the names are dim unless they are what one looks for."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim" if dim else "", overflow="fold")
    table.add_column(overflow="fold", ratio=1)
    for fact in found:
        if fact is not None:
            table.add_row(Text(fact.name), fact.value if isinstance(fact.value, Text) else Text(fact.value))
    return table


def heading(text: str) -> Text:
    """A heading with a line of room above it."""
    return Text(f"\n{text}", "bold underline")
