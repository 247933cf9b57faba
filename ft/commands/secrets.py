"""`ft secrets set | test | list | rm | import`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine import secrets
from engine.errors import ConfigError, MachineError
from engine.secrets import encrypted_file, imported, passphrase
from ft import columns
from ft.console import out, print_json, say
from ft.passphrase_prompt import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(
    help="Keep tokens in the system's keyring, or in an encrypted file.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(help="HF_TOKEN, WANDB_API_KEY, or a name of your own.")]
InFile = Annotated[
    bool,
    typer.Option("--file", help="Keep it in a file that a passphrase opens: for systems without a keyring."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("set")
def set_(name: Name, file: InFile = False) -> None:
    """Keep a token; its value is asked for, or read from stdin, and never shown.

    With --file, stdin has the passphrase in its first line and the value in the second; where
    FT_SECRETS_PASSPHRASE is set, the value alone.
    """
    secrets.state_of(name)  # a name that cannot be one is refused before anything is asked
    words = _passphrase() if file else None
    value = (typed(name) or "" if sys.stdin.isatty() else _line()).strip()
    _keep({name: value}, words)
    state = secrets.state_of(name)
    if state.place == "environment":
        say("The environment variable takes precedence: unset it to use this one.")
    elif words is not None and state.place == "keyring":
        say(f"The keyring has one too, which takes precedence; ft secrets rm {name} removes both.")


@app.command("test")
def ask_services(
    name: Annotated[str | None, typer.Argument(help="A token; all that are set if left out.")] = None,
    json: Json = False,
) -> None:
    """Ask the services whether they know the tokens. Exit code 1: one is rejected; 4: one could not be asked."""
    secrets.ask_with(typed if sys.stdin.isatty() else lambda _: _line().rstrip("\r\n"))
    verdicts = secrets.test_all() if name is None else [secrets.verdict(name)]
    if json:
        print_json([_as_json(verdict) for verdict in verdicts])
    elif not verdicts:
        say("No token is set.")
    else:
        _print_verdicts(verdicts)
    failed = next((verdict.error for verdict in verdicts if verdict.error), None)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the tokens that ft looks for, and where each is. Values are never shown."""
    found = secrets.listed()
    if json:
        print_json([asdict(state) for state in found])
        return
    rows = [[(text, "") for text in (state.name, state.where, state.purpose)] for state in found]
    columns.show(("name", "where", "for"), rows)
    encrypted_file.names()  # a damaged file is told after what is known without it


@app.command()
def rm(name: Name) -> None:
    """Take a token out of the keyring and the encrypted file; needs no passphrase."""
    secrets.forget(name)
    say(f"{name} is removed.")


@app.command("import")
def import_(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="passwords.yml here or in FT_HOME, if left out."),
    ] = None,
    file: InFile = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace tokens that are set already.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Then delete FILE, without a question.")] = False,
) -> None:
    """Import the tokens of an old passwords.yml. Values are never shown.

    The file is a mapping of names to values, or of services to such mappings. With --file and
    without a terminal, the first line of stdin is the passphrase.
    """
    found = imported.read(path or imported.find())
    new = {name: value for name, value in found.values.items() if replace or not secrets.kept(name)}
    for key, reason in found.unusable:
        say(f"not imported: {key}: {reason}")
    for name in found.values:
        if name not in new:
            say(f"not imported: {found.keys[name]}: {name} is set already; --replace replaces it")
    if new:
        for name in new:
            say(f"{found.keys[name]} → {name}")
        _keep(new, _passphrase() if file else None)
    elif not found.values:
        raise ConfigError(
            f"{found.path} has no token that could be imported.", "Write NAME: value, one a line."
        )
    _offer_deletion(found, len(new) == len(found.values) and not found.unusable, delete)


def _offer_deletion(found: imported.PasswordsFile, whole: bool, delete: bool) -> None:
    """Delete the file where all of it was imported and the person, or the option, says so."""
    if not whole:
        say(
            f"{found.path} stays, because not all of it was imported. It is plain text: delete it when you can."
        )
        return
    if not delete and sys.stdin.isatty():
        delete = typer.confirm(f"Delete {found.path}, which has the tokens in plain text?", err=True)
    if not delete:
        say(f"{found.path} still has the tokens in plain text: delete it.")
        return
    imported.delete(found)
    say(f"{found.path} is deleted. Where it was backed up, committed or shared, create new tokens.")


def _keep(values: "Mapping[str, str]", words: str | None) -> None:
    """Put tokens into the keyring, or, with a passphrase, into the file; on a terminal the file is offered where there
    is no keyring. Raises what `secrets.set` and `secrets.set_in_file` raise."""
    if words is None:
        try:
            for name, value in values.items():
                secrets.set(name, value)
        except MachineError as error:
            if not sys.stdin.isatty():
                raise
            say(error.message)
            if not typer.confirm(f"Keep it in an encrypted file, {encrypted_file.path()}?", err=True):
                raise
            words = _passphrase()
        else:
            say(f"{_listed(values)} in the keyring.")
            return
    secrets.set_in_file(values, words)
    say(f"{_listed(values)} in the encrypted file {encrypted_file.path()}.")


def _listed(values: "Mapping[str, str]") -> str:
    return f"{', '.join(values)} {'is' if len(values) == 1 else 'are'}"


def _passphrase() -> str:
    """The file's passphrase: the environment's, else asked for, twice for a new file, else a line of stdin.

    Raises ConfigError where there is none, or the two differ.
    """
    words = passphrase.known()
    if words is None and not sys.stdin.isatty():
        words = _line().rstrip("\r\n")
    elif words is None and encrypted_file.names():
        words = typed(f"Passphrase of {encrypted_file.path()}")
    elif words is None:
        words = typed(f"New passphrase for {encrypted_file.path()}")
        passphrase.refuse_weak(words or "")
        if typed("The same again") != words:
            raise ConfigError("The two passphrases differ.", "Nothing was kept. Try again.")
    if not words:
        raise ConfigError(
            "No passphrase was given.", f"Give it in the first line of stdin, or set {passphrase.VARIABLE}."
        )
    return words


def _line() -> str:
    try:
        return sys.stdin.readline(secrets.LONGEST + 2)
    except UnicodeDecodeError:
        raise ConfigError("What stdin has is not UTF-8 text.", "Give one line of text.") from None


def _print_verdicts(verdicts: "list[secrets.Verdict]") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("name", "result", "answer"):
        table.add_column(title, no_wrap=title != "answer")
    for verdict in verdicts:
        table.add_row("\n".join(verdict.names), verdict.result, verdict.message)
    out().print(table)
    for hint in dict.fromkeys(verdict.error.hint for verdict in verdicts if verdict.error):
        say(f"hint: {hint}")


def _as_json(verdict: "secrets.Verdict") -> dict[str, object]:
    return {
        "names": list(verdict.names),
        "service": verdict.service,
        "result": verdict.result,
        "message": verdict.message,
        "hint": verdict.error.hint if verdict.error else "",
    }
