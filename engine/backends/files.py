"""What every backend does with files: the model's companions, JSON in a fixed order, a disk that is full."""

import errno
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from engine.errors import CheckpointError
from engine.models.local import MORE_TEMPLATES

STATE = "state.safetensors"
SCALER = "scaler.json"
COMPANIONS = (".json", ".jinja", ".model", ".txt")


def copy_companions(source: Path, folder: Path) -> None:
    """Put the tokenizer and what else lies beside the weights of `source` into `folder`, where it is not yet."""
    for path in source.iterdir():
        wanted = path.suffix in COMPANIONS and not path.name.endswith(".index.json")
        if path.is_file() and wanted and not (folder / path.name).exists():
            shutil.copy(path, folder)
    if (source / MORE_TEMPLATES).is_dir():
        shutil.copytree(source / MORE_TEMPLATES, folder / MORE_TEMPLATES, dirs_exist_ok=True)


def write_json(path: Path, value: Any) -> None:
    """The same value gives the same bytes."""
    path.write_text(json.dumps(_ordered(value), indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def disk_errors() -> Iterator[None]:
    """safetensors wraps what the operating system said; the callers handle the plain OSError."""
    try:
        yield
    except SafetensorError as error:
        full = "No space left" in str(error) or "os error 28" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


@contextmanager
def checkpoint_errors(folder: Path) -> Iterator[None]:
    """What cannot be read of a checkpoint becomes a CheckpointError."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the checkpoint cannot be read: {error}", "resume from an older one"
        ) from error


def check_trained(
    saved: Iterable[str], trained: Iterable[str], folder: Path, prefix: str = "weight."
) -> None:
    """Raise CheckpointError where the names of a checkpoint's tensors are not those of the weights that are trained."""
    if {name.removeprefix(prefix) for name in saved if name.startswith(prefix)} != set(trained):
        raise CheckpointError(
            f"{folder}: the checkpoint holds other weights than this recipe trains",
            "resume with the recipe that the run was started with",
        )


def _ordered(value: Any) -> Any:
    """Sets become lists in whatever order the process has; sorted, the same run writes the same file."""
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    return value
