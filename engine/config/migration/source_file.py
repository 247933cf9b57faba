"""Another trainer's file as plain data."""

import json
from pathlib import Path
from typing import Any

from engine.config.problems import Problem, RecipeError
from engine.config.yaml_reader import MAX_BYTES, MAX_DEPTH, read_yaml
from engine.errors import ConfigError
from engine.storage.disk_errors import unreadable
from engine.storage.regular_files import open_binary


def read_source(path: Path) -> dict[str, Any]:
    """The keys of a YAML or JSON file.

    Raises ConfigError where there is none, or it is no mapping; MachineError where it may not be read.
    """
    try:
        with open_binary(path) as file:
            body = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", "--from takes the file of another trainer.") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder", "Name the file in it.") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if len(body) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than 1 MB, which no trainer's configuration is")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", "Save the file as UTF-8.") from error
    found = _json(text, path) if text.lstrip().startswith("{") else None
    if found is None:
        found = _yaml(text, path)
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path} is not a mapping of keys to values", "--from takes the file of another trainer."
        )
    return found


def _json(text: str, path: Path) -> Any:
    """The value of a JSON text; None where it is none, as YAML in braces is."""
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{path} has half a character (\\ud800 to \\udfff alone)", "Take it out."
        ) from error
    except (ValueError, RecursionError):
        return None
    inside = [found]
    for _ in range(MAX_DEPTH):
        inside = [item for one in inside if isinstance(one, dict | list) for item in _items(one)]
    if inside:
        raise ConfigError(f"{path} is nested over {MAX_DEPTH} levels, which no trainer's configuration is")
    return found


def _items(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _yaml(text: str, path: Path) -> Any:
    problems: list[Problem] = []
    found = read_yaml(text, str(path), problems).data()
    if problems:  # a key given twice, a tag: nobody can say what is meant
        raise RecipeError(problems)
    return found
