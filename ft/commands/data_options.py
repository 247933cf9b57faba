"""Arguments that the commands of `ft data` share: FILE and the options of a recipe, and the recipe they make."""

import inspect
import json as jsonlib
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.config.load import load_recipe, load_text
from engine.config.recipe_paths import data_source

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig

DEFAULT = Path("train.yml")
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _shared(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="Any source; left out, data.train of the recipe.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="PATH",
            help="The recipe to take all else from; train.yml where no FILE is given.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Whose tokenizer and template; as model.base."),
    ] = None,
    overrides: Set = None,
) -> "TrainConfig":
    return config_of(file, recipe, model, overrides)


def of_a_recipe(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command be called with FILE and the options of a recipe; it gets `config`, and what is its own.

    typer reads a command's signature, so the decorated one has the parameters of both.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        shared = [one for one in _parameters(_shared) if one.name not in left_out]
        own = [one for one in _parameters(command) if one.name != "config"]
        names = {one.name for one in shared}

        def called(**given: Any) -> None:
            config = _shared(**{name: value for name, value in given.items() if name in names})
            command(config=config, **{name: value for name, value in given.items() if name not in names})

        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__signature__ = inspect.Signature([shared[0], *own, *shared[1:]])  # type: ignore[attr-defined]
        return called

    return wrap


def _parameters(function: Callable[..., Any]) -> list[Parameter]:
    found = inspect.signature(function).parameters.values()
    return [one.replace(kind=Parameter.KEYWORD_ONLY) for one in found]


def config_of(
    file: str | None, recipe: Path | None, model: str | None, overrides: list[str] | None
) -> "TrainConfig":
    """The recipe's configuration, with FILE in the place of its training data where one is given.

    FILE is as seen from the current folder, wherever the recipe is. Without a recipe it is read for the starter.
    """
    changes = [*([f"model.base={jsonlib.dumps(model)}"] if model else []), *(overrides or [])]
    if file is None:
        return load_recipe(recipe or DEFAULT, changes).config
    if recipe is not None:
        source = jsonlib.dumps(data_source(file, Path.cwd()))
        return load_recipe(recipe, [f"data.train={source}", "data.validation=0", *changes]).config
    body = {"model": {"base": "starter"}, "data": {"train": file, "validation": 0}}
    return load_text(jsonlib.dumps(body), Path("train.yml"), changes).config
