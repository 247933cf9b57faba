"""The command line. Commands live in `ft/commands/`, one module each, imported only when run."""

import contextlib
import difflib
import importlib
import os
import sys
import traceback
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from engine.errors import FtError, MachineError
from ft.console import say, show_error

COMMANDS: dict[str, tuple[str, str]] = {
    "tui": ("ft.commands.app:tui", "Open the full-screen app, as plain `ft` does."),
    "monitor": ("ft.commands.app:monitor", "Watch a run and the machine, full screen."),
    "train": ("ft.commands.train:train", "Train a model as train.yml says."),
    "attach": ("ft.commands.train:attach", "Watch a run that is training."),
    "stop": ("ft.commands.train:stop", "Stop a run; it leaves a full checkpoint."),
    "plan": ("ft.commands.plan:plan", "Say what a recipe will do, need and take, without training."),
    "validate": ("ft.commands.recipe:validate", "Check a recipe."),
    "init": ("ft.commands.recipe:init", "Write a commented train.yml to start from."),
    "schema": ("ft.commands.recipe:schema", "Print the recipe's JSON Schema, for editors."),
    "models": ("ft.commands.models:app", "List, fetch and remove models."),
    "secrets": ("ft.commands.secrets:app", "Keep tokens in the system's keyring."),
    "runs": ("ft.commands.runs:app", "List, show and remove runs."),
    "generate": ("ft.commands.generate:generate", "Answer one prompt with a trained run."),
    "chat": ("ft.commands.generate:chat", "Talk to a trained run."),
}
"""Every command: where it lives, and its line in `ft --help`."""

INTERRUPTED = 130
BUG = 70
"""Exit code of a mistake of ours (EX_SOFTWARE): none of the codes that say what the person can do."""


class LazyGroup(TyperGroup):
    """Imports a command's module only when that command runs, so that `ft --help` costs nothing.

    Contexts are `Any`: their class is click's in some releases of typer, and typer's own in others.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None if cmd_name.startswith("-") or ctx.resilient_parsing else _unknown(ctx, cmd_name)
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        target = getattr(importlib.import_module(module), attribute)
        if not isinstance(target, typer.Typer):
            function, target = target, typer.Typer(add_completion=False)
            target.command(cmd_name)(function)
        target.rich_markup_mode = None
        command = typer.main.get_command(target)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `ft --help`, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _unknown(ctx: Any, name: str) -> None:
    near = difflib.get_close_matches(name, COMMANDS, 1, 0.5)
    ctx.fail(f"There is no command {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="`ft COMMAND --help` says more. FT_HOME moves models and runs; FT_DEBUG=1 shows tracebacks.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ft {version('ft-studio')}")
        raise typer.Exit


@app.callback()
def ft(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune language models on your own machine. On a terminal, plain `ft` opens the full-screen app."""
    if ctx.invoked_subcommand is not None:
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        from ft.commands.app import tui

        tui()
    typer.echo(ctx.get_help())


def main(argv: list[str] | None = None) -> int:
    """Run `ft` and return its exit code; an error's is its own (see docs/commands.md)."""
    try:
        return _exit_code(argv)
    except BrokenPipeError:
        return _quiet()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # the last stop before the person: each becomes a message
        if os.environ.get("FT_DEBUG"):
            traceback.print_exc()
        return _report(error)


def _exit_code(argv: list[str] | None) -> int:
    try:
        typer.main.get_command(app).main(args=argv, prog_name="ft")
    except SystemExit as end:
        code = end.code
    else:
        code = 0
    sys.stdout.flush()  # here, so that a reader that has gone is noticed here
    return code if isinstance(code, int) else 0 if code is None else 1


def _quiet() -> int:
    """The reader of our output has gone (`ft runs list | head`): end without a word."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _report(error: Exception) -> int:
    if isinstance(error, FtError):
        show_error(error)
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        show_error(MachineError(f"{where}{error.strerror}", "FT_DEBUG=1 shows where this happened."))
        return MachineError.exit_code
    show_error(FtError(f"ft made a mistake: {type(error).__name__}: {error}", keep_traceback(error)))
    return BUG


def keep_traceback(error: BaseException) -> str:
    """Write the traceback to a file, and say where."""
    from engine import paths

    log = paths.cache() / "last-error.txt"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError as failure:
        say(f"(the traceback could not be written to {log}: {failure.strerror})")
        return "FT_DEBUG=1 shows the traceback. Please report it."
    return f"The traceback is in {log}; FT_DEBUG=1 shows it here. Please report it."


if __name__ == "__main__":
    sys.exit(main())
