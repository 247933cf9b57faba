"""Which files of rows Datasets shows, and as which recipe's model sees them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.data.choice import FormChoice, choice_of
from engine.data.views import View
from engine.errors import DataError, FtError

if TYPE_CHECKING:
    from engine.config.schema import Data

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
MOST_FILES = 100
"""Files of a folder that are listed."""


@dataclass(frozen=True)
class Shown:
    """The sources in the order of the list, and what their tokens depend on."""

    sources: tuple[str, ...] = ("starter",)
    view: View = field(default_factory=View)
    choices: Mapping[str, FormChoice] = field(default_factory=dict)
    """What the recipe says of the form of a source's rows, for those that it names."""
    recipe: str = ""
    """The recipe that the view is from, for people."""
    problem: str = ""
    """Why the recipe could not be read, where it could not: then the starter looks."""

    def view_of(self, source: str) -> View:
        """The view of one source."""
        choice = self.choices.get(source, FormChoice())
        return replace(self.view, format=choice.format, columns=choice.columns, template=choice.template)


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
            problem = f"{recipe.name} has problems; this is as the starter sees it"
    choices = _choices(config.data)
    named = [*choices, *own, "starter"]
    view = View(
        model=config.model.base,
        revision=config.model.revision,
        chat_template=config.model.chat_template,
        train_on=config.data.train_on,
        max_seq_length=config.model.max_seq_length,
        chunk_overlap=config.data.chunk_overlap,
    )
    return Shown(tuple(dict.fromkeys(named)), view, choices, name, problem)


def files_of(text: str) -> list[str]:
    """The files that a person's words name: one, those of a folder, or the starter. Raises DataError."""
    from engine.data.readers import READERS
    from engine.data.sources import locate

    wanted = text.strip()
    if wanted == "starter":
        return [wanted]
    path = Path(wanted).expanduser().absolute()
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in READERS and each.is_file())
        if not found:
            raise DataError(f"{wanted}: no files of rows in it", f"Data files end in {', '.join(READERS)}.")
        return [str(each) for each in found[:MOST_FILES]]
    if not path.exists() and HUB_ID.fullmatch(wanted) and not path.parent.is_dir():
        raise DataError(
            f"{wanted}: no such file; data sets of the hub are not read yet",
            "Download its .jsonl, .json, .csv or .parquet files, and add their folder.",
        )
    locate(str(path))
    return [str(path)]


def _choices(data: "Data") -> dict[str, FormChoice]:
    """The sources of a recipe's `train` and `validation`, with what it says of the form of each."""
    from engine.config.schema import Source

    train = data.train if isinstance(data.train, list) else [data.train]
    named = [each for each in (*train, data.validation) if not isinstance(each, float)]
    sources = [each if isinstance(each, Source) else Source(path=each) for each in named]
    return {source.path: choice_of(source, data) for source in sources}


def recipe_for(source: str, recipe: Path) -> str:
    """The text of a recipe that trains on a source: the recipe at hand, or the profile to try a file with.

    Raises FtError where the recipe cannot be read or has no place for it.
    """
    from engine.config.load import load_recipe
    from engine.config.patch import set_value
    from engine.config.profiles import profile_text

    text = load_recipe(recipe).source if recipe.is_file() else profile_text("quick")
    return set_value(text, "data.train", source if source == "starter" else str(Path(source).absolute()))
