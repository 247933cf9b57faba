"""Table of the commands of `ft`: its own in `ft/commands/`, and those of other packages, imported only when run.

Another package adds a function, or a `typer.Typer`, by an entry point in the group `ft.commands`.
"""

import difflib
import importlib
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from engine import plugins

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
    "data": ("ft.commands.data:app", "Preview, check, count and convert training data."),
    "models": ("ft.commands.models:app", "List, fetch, convert and remove models."),
    "secrets": ("ft.commands.secrets:app", "Keep tokens in the keyring or an encrypted file, and test them."),
    "runs": ("ft.commands.runs:app", "List, show, compare and remove runs."),
    "storage": ("ft.commands.storage:app", "Show what takes room on the disk, and free it."),
    "evaluate": ("ft.commands.evaluate:evaluate", "Score a trained model on validation rows, or on others."),
    "merge": ("ft.commands.merge:merge", "Merge a trained model, or several, into full weights."),
    "export": ("ft.commands.export:export", "Write a trained model in the files of another program."),
    "push": ("ft.commands.push:push", "Push a trained model with its card to the hub."),
    "track": ("ft.commands.track:track", "Report a run's events to another program."),
    "generate": ("ft.commands.generate:generate", "Answer one prompt with a trained model."),
    "chat": ("ft.commands.chat:chat", "Talk to a trained model."),
    "doctor": (
        "ft.commands.doctor:doctor",
        "Say what is wrong with this machine's setup, and what mends it.",
    ),
    "serve": ("ft.commands.serve:serve", "Answer other programs over HTTP, as OpenAI's API does."),
}
"""ft's own commands: where each lives, and its line in `ft --help`."""
ALIASES = {"dataset": "data", "infer": "generate"}
"""Other names that a command answers to."""


def commands() -> dict[str, str]:
    """Every command with its line in `ft --help`: ft's own, then those of other packages by name."""
    others = {
        name: plugins.summary(plugins.COMMANDS, name) for name in sorted(plugins.installed(plugins.COMMANDS))
    }
    return {name: line for name, (_, line) in COMMANDS.items()} | {
        name: line for name, line in others.items() if name not in COMMANDS
    }


def target_of(name: str) -> Any:
    """The function or `typer.Typer` of a command; None where there is no such command.

    Raises MachineError where another package's does not load.
    """
    if name in COMMANDS:
        module, _, attribute = COMMANDS[name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)
    return plugins.load(plugins.COMMANDS, name) if name in plugins.installed(plugins.COMMANDS) else None


class LazyGroup(TyperGroup):
    """Imports a command's module only when that command runs, so that `ft --help` costs nothing.

    Contexts are `Any`: their class is click's in some releases of typer, and typer's own in others.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(commands())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        target = target_of(cmd_name)
        if target is None:
            return None if cmd_name.startswith("-") or ctx.resilient_parsing else _unknown(ctx, cmd_name)
        if not isinstance(target, typer.Typer):
            function, target = target, typer.Typer(add_completion=False)
            target.command(cmd_name)(function)
        target.rich_markup_mode = None
        command = typer.main.get_command(target)
        command.name = cmd_name
        _help_is_a_flag(command, ctx)
        return command

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `ft --help`, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([*commands().items()])


def _help_is_a_flag(command: Any, ctx: Any) -> None:
    """Have --help be False where it is not given: typer loads pydantic to make a flag of None, which takes as long as
    all else that a short command does."""
    for each in (command, *getattr(command, "commands", {}).values()):
        option = each.get_help_option(ctx)
        if option is not None:
            option.default = False


def _unknown(ctx: Any, name: str) -> None:
    near = difflib.get_close_matches(name, commands(), 1, 0.5)
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
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing, whatever the command; it may stand anywhere.")
    ] = False,
) -> None:
    """Fine-tune language models on your own machine. On a terminal, plain `ft` opens the full-screen app."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
    else:
        from engine import secrets
        from ft.passphrase_prompt import ask

        secrets.ask_with(ask)


def run(argv: list[str] | None) -> None:
    """Run the command that is named, or print the help. Raises SystemExit with its exit code."""
    typer.main.get_command(app).main(args=argv, prog_name="ft")
