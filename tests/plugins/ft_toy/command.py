"""A command: `ft toy NAME`."""

from typing import Annotated

import typer


def toy(name: Annotated[str, typer.Argument(help="Whom to greet.")] = "you") -> None:
    """Greet somebody."""
    typer.echo(f"Hello, {name}.")
