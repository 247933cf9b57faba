"""The command line. Commands live in `ft/commands/`, one module each, imported only when run."""

import importlib
import sys

import click
import typer.main
from typer.core import TyperGroup

from engine.errors import FtError

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("ft.commands.train:train", "Train a model as train.yml says."),
    "attach": ("ft.commands.train:attach", "Watch a run that is training."),
    "stop": ("ft.commands.train:stop", "Stop a run; it leaves a full checkpoint."),
    "plan": ("ft.commands.plan:plan", "Say what a recipe will do, need and take, without training."),
    "validate": ("ft.commands.recipe:validate", "Check a recipe."),
    "init": ("ft.commands.recipe:init", "Write a commented train.yml to start from."),
    "schema": ("ft.commands.recipe:schema", "Print the recipe's JSON Schema, for editors."),
    "models": ("ft.commands.models:app", "List, fetch and remove models."),
    "runs": ("ft.commands.runs:app", "List, show and remove runs."),
    "generate": ("ft.commands.generate:generate", "Answer one prompt with a trained run."),
    "chat": ("ft.commands.generate:chat", "Talk to a trained run."),
}
"""Every command: where it lives, and its line in `ft --help`."""


class LazyGroup(TyperGroup):
    """Imports a command's module only when that command runs, so that `ft --help` costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            return typer.main.get_command(target)
        app = typer.Typer(add_completion=False)
        app.command(cmd_name)(target)
        return typer.main.get_command(app)


def main() -> None:
    """Run `ft`; the exit code is the error's own (see docs/commands.md)."""
