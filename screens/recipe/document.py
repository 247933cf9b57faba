"""A recipe in work: its file, its text, and what is wrong with it. Nothing here knows of widgets."""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config.form import values
from engine.config.load import load_text
from engine.config.problems import Place, Problem, RecipeError
from engine.config.recipe_paths import check_files
from engine.config.yaml_reader import MAX_BYTES, Node, read_yaml
from engine.errors import ConfigError, FtError
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explained, unreadable
from engine.storage.regular_files import open_binary

NAME = "train.yml"
"""What a recipe's file is called, and is looked for in the current folder."""


EACH = re.compile(r"\n(?=[a-z]+\.[a-z_]+(?:\[\d+\])?: )")
"""Between two problems of a message: each starts with its key."""


@dataclass(frozen=True)
class Check:
    """What a text says and what is wrong with it."""

    text: str
    values: Mapping[str, str] | None
    """By key, as YAML; None where the text is no YAML."""
    problems: tuple[Problem, ...]


def check(text: str, path: Path) -> Check:
    """Look a text over that stands, or would stand, at `path`; its files too."""
    try:
        said = values(text)
    except RecipeError as error:
        return Check(text, None, error.problems)
    try:
        config = load_text(text, path).config
    except RecipeError as error:
        return Check(text, said, error.problems)
    try:
        check_files(config)
    except FtError as error:
        return Check(text, said, tuple(_placed(one, text, path) for one in EACH.split(error.message)))
    return Check(text, said, ())


def _placed(message: str, text: str, path: Path) -> Problem:
    """`data.train: … does not exist` with its place in the text."""
    key = message.partition(": ")[0].partition("[")[0]
    beside: list[Problem] = []
    node: Node | None = read_yaml(text, str(path), beside)
    place = Place(str(path), 1, 1)
    for step in key.split("."):
        entry = node.value.get(step) if node is not None and isinstance(node.value, dict) else None
        node = entry.node if entry else None
        place = node.place if node else place
    return Problem(place, message, key)


def read(path: Path) -> str:
    """A file's text, its line breaks as they are.

    Raises ConfigError where it is missing or no recipe can be, MachineError where it may not be read.
    """
    try:
        with open_binary(path) as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", "Start from a profile, or open another file.") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder", f"Name the recipe itself, as {path / NAME}") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than 1 MB, which no recipe is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", "Save it as UTF-8.") from error


def on_disk(path: Path) -> str | None:
    """What the file holds now; None where there is none. Raises as `read` does."""
    return read(path) if path.exists() else None


def write(path: Path, text: str) -> None:
    """Write a recipe whole; a link and the file's rights stay. Raises MachineError where the disk says no."""
    target = path.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        rights = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        write_atomic(target, text)
        if rights is not None:
            target.chmod(rights)
    except OSError as error:
        raise explained(error) from error


def counted_problems(count: int) -> str:
    """`1 problem`, `2 problems`."""
    return "1 problem" if count == 1 else f"{count} problems"
