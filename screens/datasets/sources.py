"""Sources that Datasets shows, and the recipe whose model they are shown for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.data.formats.choice import FormatChoice, choice_of
from engine.data.preview.values import View
from engine.errors import DataError, FtError
from engine.redaction import redacted
from screens.format import place

if TYPE_CHECKING:
    from engine.config.sections import Data

MOST_FILES = 100
"""Files of a folder that are listed."""


@dataclass(frozen=True)
class Shown:
    """The sources in the order of the list, and what their tokens depend on."""

    sources: tuple[str, ...] = ("starter",)
    view: View = field(default_factory=View)
    choices: Mapping[str, FormatChoice] = field(default_factory=dict)
    """Formats that the recipe sets for sources which it names."""
    recipe: str = ""
    """The recipe that the view is from, for people."""
    problem: str = ""
    """Reason why the recipe could not be read; the starter's settings are then used."""

    def view_of(self, source: str) -> View:
        """The view of one source."""
        return self.view.of_format(self.choices.get(source, FormatChoice()))


def looking_through(recipe: Path, own: Sequence[str]) -> Shown:
    """The sources of a recipe, those that a person added, and the starter, seen as the recipe's model sees them.

    Without a recipe, or with one that has problems, the starter's own looks. Never raises.
    """
    from engine.config.load import load_recipe, load_text
    from engine.config.profiles import profile_text

    starter = load_text(profile_text("starter"), recipe).config
    config, name, problem = starter, "the starter recipe", ""
    if recipe.is_file():
        try:
            config, name = load_recipe(recipe).config, recipe.name
        except FtError:
            problem = f"{recipe.name} has problems; shown as the starter sees it"
    choices = _choices(config.data)
    named = [*choices, *own, "starter"]
    return Shown(tuple(dict.fromkeys(named)), View.of(config), choices, name, problem)


def files_of(text: str) -> list[str]:
    """The sources that a person's words name: one, the files of a folder, or the starter. Raises DataError."""
    from engine.config.recipe_paths import STARTER, data_source, scheme
    from engine.data.readers.registry import KNOWN, kind_of
    from engine.data.sources import local

    wanted = text.strip()
    source = data_source(wanted, Path.cwd())
    if source == STARTER or scheme(source):
        return [source]
    path = Path(source)
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if kind_of(each) and each.is_file())
        if not found:
            raise DataError(f"{wanted}: no data files in it", f"Data files end in {KNOWN}.")
        return [str(each) for each in found[:MOST_FILES]]
    for each in local.find(source).paths:
        local.check(each, local.shown(each))
    return [source]


def label(source: str) -> str:
    """A source as its list shows it: its path, and which part of it."""
    if not source.startswith("{"):
        return redacted(source) if "://" in source else place(Path(source))
    mapping = json.loads(source)
    parts = [str(mapping[key]) for key in ("config", "split", "revision", "sample_by") if key in mapping]
    return f"{label(mapping['path'])} ({', '.join(parts)})" if parts else label(mapping["path"])


def _choices(data: "Data") -> dict[str, FormatChoice]:
    """The sources of a recipe's `train` and `validation`, with what it says of the form of each."""
    from engine.config.sections import Source
    from engine.data.sources.resolve import as_text, training
    from engine.data.sources.splits import Part

    own = data.validation if isinstance(data.validation, str | Source) else None
    validation = Source(path=own) if isinstance(own, str) else own
    named: list[tuple[Source, Part]] = [(source, "train") for source in training(data)]
    if validation is not None:
        named.append((validation, "validation"))
    return {as_text(source, part): choice_of(source, data) for source, part in named}


def recipe_for(source: str, recipe: Path) -> str:
    """The text of a recipe that trains on a source: the one of the working folder, or else the profile to try files.

    Raises FtError where the recipe cannot be read or has no place for it.
    """
    from engine.config.load import load_recipe
    from engine.config.patch import set_value
    from engine.config.profiles import profile_text

    text = load_recipe(recipe).source if recipe.is_file() else profile_text("quick")
    there = "://" in source or source == "starter"
    value = (
        json.loads(source) if source.startswith("{") else source if there else str(Path(source).absolute())
    )
    return set_value(text, "data.train", value)
