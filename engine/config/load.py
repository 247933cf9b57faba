"""A recipe's text → a checked `TrainConfig`, or every problem in it with file, line and column."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from engine import addresses
from engine.config.overrides import override
from engine.config.problems import Place, Problem, RecipeError
from engine.config.recipe_paths import absolute
from engine.config.schema import TrainConfig
from engine.config.validation_errors import validate
from engine.config.yaml_reader import FLOAT, INT, MAX_BYTES, read_yaml
from engine.errors import ConfigError, MachineError
from engine.redaction import secrets_of
from engine.storage.disk_errors import unreadable
from engine.storage.regular_files import open_binary

HEADER = "# The recipe as this run used it: overrides applied, paths absolute, defaults written out.\n"


@dataclass(frozen=True)
class Recipe:
    """A recipe read, checked, its paths made absolute. `source` is the text as it was."""

    config: TrainConfig
    path: Path
    source: str

    def resolved(self) -> str:
        """YAML of the whole configuration; reading it again gives the same configuration."""
        body = self.config.model_dump(mode="json")
        text = yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000)
        return HEADER + text

    def without_secrets(self) -> "tuple[Recipe, dict[str, str]]":
        """The recipe as it may be written down, and the whole addresses that are left out of it, by name.

        See `engine.addresses`: each stands in the recipe without its password or signature.
        """
        body, found = addresses.without_secrets(self.config.model_dump(mode="json"))
        if not found:
            return self, {}
        source = self.source
        for name, url in found.items():
            source = source.replace(url, addresses.stored(url))
            for part in secrets_of(url):  # where the text has the address in other words than it was given in
                source = source.replace(part, f"${{{name}}}") if len(part) > 3 else source
        return Recipe(TrainConfig.model_validate(body), self.path, source), found


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file.

    Raises `RecipeError` (a `ConfigError`) with every problem, `ConfigError` where there is no such file,
    `MachineError` where it may not be read.
    """
    try:
        with open_binary(path) as file:
            data = file.read(MAX_BYTES + 4)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", "`ft init` writes a recipe to start from.") from error
    except IsADirectoryError as error:
        raise ConfigError(
            f"{path} is a folder", f"Name the recipe itself, as {path / 'train.yml'}"
        ) from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Place(str(path), before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        message = f"not UTF-8 text: byte 0x{data[error.start]:02x}; save the file as UTF-8"
        raise RecipeError([Problem(place, message)]) from error
    try:
        return load_text(text, path, overrides)
    except RecipeError as error:
        if error.hint or not (other := _other_trainer(path)):
            raise
        target = "recipe.yml " if path.name == "train.yml" else ""  # what `ft init` writes if it is not told
        command = f"ft init {target}--from {shlex.quote(str(path))}"
        hint = f"It looks like a file of {other}: `{command}` writes a recipe that says the same."
        raise RecipeError(list(error.problems), hint) from error


def _other_trainer(path: Path) -> str:
    """Name of the trainer that a file which is no recipe was written for; empty where its keys do not tell."""
    from engine.config.migration.found import tool_of
    from engine.config.migration.source_file import read_source

    try:
        given = read_source(path)
        tool, signs = tool_of(given, str(path))
    except (ConfigError, MachineError):
        return ""
    return "" if isinstance(given.get("model"), dict) or len(signs) < 2 else tool.name


def load_text(text: str, path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a text that stands, or would stand, at `path`. Raises as `load_recipe` does."""
    problems: list[Problem] = []
    root = read_yaml(text, str(path), problems)
    if root.value is None and not problems:
        raise RecipeError([Problem(root.place, "the recipe is empty")], "`ft init` writes one to start from.")
    if not isinstance(root.value, dict):
        message = "a recipe is a mapping of keys, such as `model:` and `data:`"
        raise RecipeError([*problems, Problem(root.place, message)])
    for option in overrides:
        override(root, option, problems)
    config = validate(root, problems)
    if config is None or problems:
        raise RecipeError(problems)
    return Recipe(absolute(config, path.parent), path, text)


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 *or* 1.2 would read as a number or switch, so that every reader agrees."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML writes the rarer line breaks bare within single quotes, where reading folds them to spaces.
        style = '"' if any(mark in data for mark in "\r\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", INT, None)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, None)
