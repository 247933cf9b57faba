"""A new run directory for a recipe."""

from pathlib import Path

from engine.config.load import Recipe
from engine.runs.directory import registry
from engine.runs.directory.create_job import claimed
from engine.runs.directory.run import Run
from engine.runs.directory.start_adapter import begin_from, find_start
from engine.storage.atomic import write_atomic


def create_run(recipe: Recipe, folder: Path | None = None) -> Run:
    """A new run directory with the recipe in it, as it was and resolved, and the adapter that it starts from.

    Passwords in the recipe's addresses are left out of it: see `engine.addresses`.

    `folder` (or the recipe's `output.dir`) must be empty or not there; None makes one in the runs folder.
    Raises ConfigError where the folder is taken or the recipe contradicts that adapter, ModelError where that is
    none, MachineError where the folder cannot be written.
    """
    if start := find_start(recipe.config):
        recipe = begin_from(start, recipe)
    named = folder or (Path(recipe.config.output.dir) if recipe.config.output.dir else None)
    stored, addresses = recipe.without_secrets()
    with claimed(recipe.config.name, named) as run:
        run.addresses = addresses
        run.checkpoints.mkdir()
        write_atomic(run.folder / "source.yml", stored.source)
        write_atomic(run.folder / registry.RECIPE, stored.resolved())
        if start:
            start.copy_into(run)
    return run
