"""Tokens of an old `passwords.yml`: names in plain text with their values, flat or by service."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import paths
from engine.errors import ConfigError, MachineError
from engine.redaction import redacted
from engine.secrets.names import named, refuse_unusable
from engine.secrets.services import PURPOSES
from engine.storage.disk_errors import unreadable
from engine.storage.regular_files import read_text

NAMES = ("passwords.yml", "passwords.yaml")
LARGEST = 64 << 10
"""Bytes of the largest file that is read."""
DEEPEST = 3
"""Levels of sections that are looked into."""
_HUB, _WANDB = r"(?:HF|HUGGING_?FACE(?:_?HUB)?)", r"(?:WANDB|WEIGHTS_(?:AND_)?BIASES)"
_KNOWN = (
    (rf"{_HUB}(?:_(?:API|ACCESS))?(?:_(?:TOKEN|KEY))?", "HF_TOKEN"),
    (rf"{_WANDB}(?:_(?:API|ACCESS))?(?:_(?:TOKEN|KEY))?", "WANDB_API_KEY"),
    (r"MLFLOW(?:_(?:API|ACCESS))?_TOKEN", "MLFLOW_TRACKING_TOKEN"),
    (r"MLFLOW_USER(?:_?NAME)?", "MLFLOW_TRACKING_USERNAME"),
    (r"MLFLOW_PASSWORD", "MLFLOW_TRACKING_PASSWORD"),
    (r"MLFLOW_(?:URI|URL|HOST)", "MLFLOW_TRACKING_URI"),
    (r"LANGFUSE_PUBLIC", "LANGFUSE_PUBLIC_KEY"),
    (r"LANGFUSE_SECRET", "LANGFUSE_SECRET_KEY"),
    (r"LANGFUSE_(?:URI|URL)", "LANGFUSE_HOST"),
    (r"SERVE(?:_(?:TOKEN|KEY))", "SERVE_API_KEY"),
)
"""Other spellings of names that ft knows, sections and keys joined by `_`."""
_SHOWN = re.compile(r"[A-Za-z][\w.-]{0,40}")


@dataclass(frozen=True)
class PasswordsFile:
    """What a file has, and why parts of it cannot be used. No text here repeats a value, but `values`."""

    path: Path
    values: Mapping[str, str]
    """Tokens by the names that ft keeps them under."""
    keys: Mapping[str, str]
    """The keys that they have in the file, by these names."""
    unusable: tuple[tuple[str, str], ...]
    """Key and reason of what cannot be imported."""


def find() -> Path:
    """The file in the current folder, else in FT_HOME. Raises ConfigError where neither has one."""
    for folder in (Path.cwd(), paths.home()):
        for name in NAMES:
            if (folder / name).exists():
                return folder / name
    raise ConfigError(f"There is no {NAMES[0]} here or in {paths.home()}.", "Name it: ft secrets import FILE")


def read(path: Path) -> PasswordsFile:
    """Read the file. Raises ConfigError where it is no mapping of names, MachineError where it cannot be read."""
    values: dict[str, str] = {}
    keys: dict[str, str] = {}
    unusable: list[tuple[str, str]] = []
    for words, value in _entries(_loaded(path)):
        shown = ".".join(word if _SHOWN.fullmatch(word) else "…" for word in words)
        shown = redacted(shown)
        try:
            if not isinstance(value, str):
                raise ConfigError("its value is no text")
            name = named(_name(words))
            refuse_unusable(name, value)
            if values.get(name, value) != value:
                raise ConfigError(f"{keys[name]} is {name} too, with another value")
        except ConfigError as error:
            unusable.append((shown, error.message))
        else:
            values[name], keys[name] = value, shown
    return PasswordsFile(path, values, keys, tuple(unusable))


def delete(found: PasswordsFile) -> None:
    """Remove the file. Raises MachineError where it cannot be, or is a link, whose file would stay."""
    if found.path.is_symlink():
        raise MachineError(
            f"{found.path} is a link; the file with the tokens is {found.path.resolve()}.",
            "Remove both yourself.",
        )
    try:
        found.path.unlink()
    except OSError as error:
        raise MachineError(
            f"{found.path} cannot be removed: {error.strerror}.", "Remove it yourself."
        ) from None


def _loaded(path: Path) -> Any:
    """The file's content, every value as the text that it is. YAML's own messages would repeat parts of it."""
    import yaml

    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path} is far too large to be a file of passwords.", "Name the right file.")
        return yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: this is not YAML.", "Write NAME: value, one a line.") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ConfigError(f"{path}: this is not YAML.", "Write NAME: value, one a line.") from None


def _entries(body: Any, inside: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(body, dict):
        if not inside:
            raise ConfigError("A file of passwords is a mapping.", "Write NAME: value, one a line.")
        yield inside, body
    elif len(inside) >= DEEPEST:
        yield inside, None
    else:
        for key, value in body.items():
            yield from _entries(value, (*inside, str(key)))


def _name(words: tuple[str, ...]) -> str:
    """The name that a key means: as ft knows it, else its sections and itself, in capitals, joined by `_`."""
    last = _capitals(words[-1])
    if last in PURPOSES or last in ("HUGGING_FACE_HUB_TOKEN", "MLFLOW_TRACKING_URI", "LANGFUSE_HOST"):
        return last
    joined = "_".join(map(_capitals, words))
    return next((name for pattern, name in _KNOWN if re.fullmatch(pattern, joined)), joined)


def _capitals(word: str) -> str:
    return re.sub(r"[\s.-]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word.strip())).upper()
