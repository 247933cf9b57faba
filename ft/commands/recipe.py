"""`ft init`, `ft validate`, `ft schema`: recipes written, checked, described."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import ConfigError, FtError, Notice
from engine.redaction import redacted_values
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import require
from ft.console import print_json, say

RecipePath = Annotated[Path, typer.Argument(metavar="PATH", help="The recipe.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value for a key, as training.max_steps=20."),
]


def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Where to write it.")] = Path("train.yml"),
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", metavar="NAME", help="The kind of recipe; --list shows them."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="The model, quantised where it would not fit: a short name or a hub id.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A recipe that says what this file of axolotl, LLaMA-Factory, mlx-lm, TRL, Unsloth or PEFT says.",
        ),
    ] = None,
    source_format: Annotated[
        str | None,
        typer.Option(
            "--from-format", metavar="NAME", help="The trainer of that file, where its keys do not tell."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --from: print the result as JSON.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the profiles, and write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented recipe to start from."""
    if listed:
        return _list_profiles()
    _check_together(profile, model, source, source_format, as_json)
    target = path / "train.yml" if path.is_dir() else path
    if not force and os.path.lexists(target):
        raise ConfigError(f"{target} already exists", "--force overwrites it.")
    if source is not None:
        return _from_file(source, target, source_format, as_json)
    return _from_profile(profile or ("instruction" if model else "starter"), model, target)


def _list_profiles() -> None:
    from engine.config.profiles import profile_names, profile_summary

    names = profile_names()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {profile_summary(name)}")


def _check_together(
    profile: str | None, model: str | None, source: Path | None, source_format: str | None, as_json: bool
) -> None:
    if source is not None and (profile or model):
        other = "--profile" if profile else "--model"
        raise ConfigError(f"--from and {other} do not go together", "Change the recipe afterwards.")
    if source is None and (source_format or as_json):
        alone = "--from-format" if source_format else "--json"
        raise ConfigError(
            f"{alone} goes with --from", "ft init --from FILE reads the file of another trainer."
        )


def _from_profile(profile: str, model: str | None, target: Path) -> None:
    from engine.config.profiles import profile_text

    text, summary = profile_text(profile), ""
    if model is not None:
        from engine.planning.new_recipe import recipe_for

        made = recipe_for(model, text)
        text, summary = made.text, f"{made.summary}\n"
    _write(target, text)
    say(f"Wrote {target} from the profile {profile}.\n{summary}".rstrip())
    changes = "your data" if model else "your data, your model"
    _next(target, "" if profile == "starter" else changes)


def _from_file(source: Path, target: Path, named: str | None, as_json: bool) -> None:
    from ft.commands.migrate import migration_for, migration_json, show_migration

    migration = migration_for(source, target, named)
    _write(target, migration.text)
    if as_json:
        migration_json(migration, source, target)
        return
    show_migration(migration, source)
    say(f"Wrote {target} from {source}.")
    _next(target, "what has no equal")


def _write(target: Path, text: str) -> None:
    with explaining(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            require(target)
        write_atomic(target.resolve(), text)  # through a link, into the file that it leads to


def _next(target: Path, changes: str) -> None:
    """What to do with a new recipe; `changes` is what to edit in it first."""
    edit = f"  {'edit ' + str(target):<24} # {changes}\n" if changes else ""
    shown = "" if str(target) == "train.yml" else f" {target}"
    say(f"Next:\n{edit}  {'ft plan' + shown:<24} # what it will take\n  {'ft train' + shown:<24} # train")


def validate(
    path: RecipePath = Path("train.yml"),
    overrides: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a recipe: its keys and values, how they go together, and that its files are there."""
    from engine.config.load import load_recipe
    from engine.config.recipe_paths import check_files
    from engine.planning.notices import of_recipe

    warnings: tuple[Notice, ...] = ()
    try:
        recipe = load_recipe(path, overrides or ())
        check_files(recipe.config)
        warnings = of_recipe(recipe.config)
        if recipe.config.adapter.from_ is not None:
            from engine.models.saved_adapter import adopted
            from engine.runs.directory.start_adapter import start_of

            adopted(recipe.config, start_of(recipe.config))
    except FtError as error:
        if not as_json:
            raise
        print_json(_report(path, error))
        raise typer.Exit(error.exit_code) from error
    if as_json:
        config = redacted_values(recipe.config.model_dump(mode="json"))
        told = [asdict(notice) for notice in warnings]
        body = {"valid": True, "path": str(path), "problems": [], "warnings": told, "config": config}
        print_json(body)
        return
    typer.echo(f"{path} is valid.")
    for notice in warnings:
        say(f"warning: {notice}")


def schema() -> None:
    """Print the recipe's JSON Schema. An editor that knows it completes and checks while you type."""
    from engine.config.rules import recipe_schema

    print_json(recipe_schema())


def _report(path: Path, error: FtError) -> dict[str, Any]:
    from engine.config.problems import Problem, RecipeError

    def shown(problem: Problem) -> dict[str, Any]:
        place = problem.place
        body = {"place": str(place), "line": place.line, "column": place.column}
        return body | {"key": problem.key, "message": problem.message, "suggestion": problem.suggestion}

    found = (
        [shown(p) for p in error.problems] if isinstance(error, RecipeError) else [{"message": error.message}]
    )
    return {"valid": False, "path": str(path), "kind": error.kind, "problems": found, "hint": error.hint}
