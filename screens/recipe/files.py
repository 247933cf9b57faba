"""Recipe files: read, compared and written whole."""

import stat
from pathlib import Path

from engine.config.yaml_reader import MAX_BYTES
from engine.errors import ConfigError
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explained, unreadable
from engine.storage.regular_files import open_binary

NAME = "train.yml"
"""Name of a recipe's file, looked for in the current folder."""


def read(path: Path) -> str:
    """A file's text, its line breaks as they are.

    Raises ConfigError where it is missing or cannot be a recipe, MachineError where it may not be read.
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
        raise ConfigError(f"{path} is larger than 1 MB, too large for a recipe")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", "Save it as UTF-8.") from error


def on_disk(path: Path) -> str | None:
    """The file's text; None where there is no file. Raises as `read` does."""
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
