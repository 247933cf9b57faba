"""`ft init --from`: a recipe from the file of another trainer, and what became of each of its keys."""

from pathlib import Path
from typing import Any

import typer

from engine.config.migration.compose import grouped, pairs, shown
from engine.config.migration.migrate import migrated
from engine.config.migration.report import Migration
from engine.errors import ConfigError
from engine.redaction import redacted_values
from engine.text import listed, printable
from ft.console import print_json


def migration_for(source: Path, target: Path, named: str | None) -> Migration:
    """The migration of a file. Raises as `migrated` does, and ConfigError where the recipe would take its place."""
    if _same(target, source):
        raise ConfigError(
            f"{target} is the file that is read", "Name another for the recipe: ft init --from FILE PATH."
        )
    return migrated(source, target, named)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one is not there, or not to be entered: reading or writing says so
        return False


def show_migration(migration: Migration, source: Path) -> None:
    """What was taken, changed, implied and has no equal, a line for each."""
    signs = f", by its keys {listed(migration.signs, 5)}" if migration.signs else ""
    typer.echo(f"{source.name} is a configuration of {migration.tool}{signs}.")
    _part("taken", [f"{pairs(one.source)} → {one.key}: {shown(one.value)}" for one in migration.taken])
    _part(
        "changed",
        [f"{pairs(one.source)} → {one.key}: {shown(one.value)}\n    {one.why}" for one in migration.changed],
    )
    _part(
        f"{migration.tool}'s defaults, which are not ft's",
        [f"{one.key}: {shown(one.value)}" + (f": {one.why}" if one.why else "") for one in migration.implied],
    )
    _part("no equal", [_without(*one) for one in grouped(migration.unmatched, values=True)])


def migration_json(migration: Migration, source: Path, target: Path) -> None:
    """The whole as one JSON document."""
    print_json(
        {
            "path": str(target),
            "source": str(source),
            "tool": migration.tool,
            "found_by": list(migration.signs),
            "taken": [_set(one) for one in migration.taken],
            "changed": [_set(one) | {"why": one.why} for one in migration.changed],
            "defaults": [{"key": one.key, "value": one.value, "why": one.why} for one in migration.implied],
            "no_equal": [
                {"source": _open(one.source), "why": one.why, "instead": one.instead}
                for one in migration.unmatched
            ],
            "recipe": migration.text,
        }
    )


def _part(title: str, lines: list[str]) -> None:
    if lines:
        typer.echo("\n".join(["", title, *(f"  {printable(line)}" for line in lines)]))


def _without(keys: str, why: str, instead: str) -> str:
    return "\n    ".join(
        filter(
            None,
            [keys or why, why if keys else "", f"here: {instead}" if instead not in ("", "nothing") else ""],
        )
    )


def _set(one: Any) -> dict[str, Any]:
    return {"source": _open(one.source), "key": one.key, "value": redacted_values(one.value)}


def _open(source: Any) -> dict[str, str]:
    """Keys and values of the file, as the report shows them: without secrets and of bounded length."""
    return {key: pairs({key: value}).removeprefix(key).removeprefix(": ") for key, value in source.items()}
