"""`ft secrets set | list | rm`."""

import contextlib
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from engine import secrets
from ft.console import out, print_json, say

app = typer.Typer(help="Keep tokens in the system's keyring.", no_args_is_help=True, add_completion=False)
Name = Annotated[str, typer.Argument(help="HF_TOKEN, WANDB_API_KEY, or a name of your own.")]


@app.command("set")
def set_(name: Name) -> None:
    """Keep a token; its value is asked for, or read from stdin, and never shown."""
    value = ""
    if sys.stdin.isatty():
        from getpass import getpass

        with contextlib.suppress(EOFError):  # ctrl-d gives nothing, which is refused below
            value = getpass(f"{name} (not shown): ")
    else:
        value = sys.stdin.readline(secrets.LONGEST + 2)
    secrets.set(name, value.strip())
    say(f"{name} is in the keyring.")
    if secrets.state_of(name).place == "environment":
        say("The environment variable takes precedence: unset it to use the keyring's.")


@app.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the tokens that ft looks for, and where each is. Values are never shown."""
    found = secrets.listed()
    if json:
        print_json([asdict(state) for state in found])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("name", "where", "for"):
        table.add_column(title, no_wrap=True)
    for state in found:
        table.add_row(state.name, state.where, state.purpose)
    out().print(table)


@app.command()
def rm(name: Name) -> None:
    """Take a token out of the keyring."""
    secrets.forget(name)
    say(f"{name} is no longer in the keyring.")
