"""File handling of every backend: the files beside a model's weights, JSON in a fixed order, a disk that is full."""

import errno
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from engine.data.tokenization.tokenizer import write_extended
from engine.errors import CheckpointError, ModelError
from engine.models.local import MORE_TEMPLATES, TEMPLATE, read_config, token_files
from engine.models.weights import not_finite

STATE = "state.safetensors"
SCALER = "scaler.json"
TOKENIZER = ("tokenizer", "special_tokens", "chat_template")
"""Beginnings of the names of files that a tokenizer is read from."""
COMPANIONS = (".json", ".jinja", ".model", ".txt")
TRAINED_BY = "training_args.json"
"""Recipe that a model was trained by: it says nothing of what is made of that model."""


def copy_tokenizer_files(source: Path, folder: Path, names: Collection[str] | None = None) -> None:
    """Put what lies beside the weights of `source` into `folder`, where it is not yet: tokenizer, templates, settings.

    With `names`, those files and the chat templates alone. Of a model that brings its own code, that comes too.
    """
    code = ("auto_map" in read_config(source)) if names is None else False
    for path in source.iterdir():
        if names is not None:
            wanted = path.name in names or path.name == TEMPLATE
        else:
            wanted = path.suffix in COMPANIONS and not path.name.endswith((".index.json", TRAINED_BY))
            wanted |= code and path.suffix == ".py"
        if path.is_file() and wanted and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    if (source / MORE_TEMPLATES).is_dir():
        shutil.copytree(source / MORE_TEMPLATES, folder / MORE_TEMPLATES, dirs_exist_ok=True)


def write_tokenizer(source: Path, add_tokens: Sequence[str], folder: Path) -> None:
    """Put the tokenizer of `source` with these tokens into `folder`; nothing where there are none."""
    if not add_tokens:
        return
    write_extended(source, add_tokens, folder)
    for path in token_files(source):
        if path.is_file() and path.name.startswith(TOKENIZER) and not (folder / path.name).exists():
            shutil.copy(path, folder)


def write_json(path: Path, value: Any) -> None:
    """The same value gives the same bytes."""
    path.write_text(json.dumps(_ordered(value), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_config(folder: Path, config: Mapping[str, Any], dtype: str) -> None:
    """Write a model's config.json with the number format that its weights are written in."""
    key = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
    text = json.dumps({**config, key: dtype}, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


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
    """Turn what cannot be read of a checkpoint into a CheckpointError."""
    try:
        yield
    except (OSError, ValueError, SafetensorError, ModelError) as error:
        raise CheckpointError(
            f"{folder}: the checkpoint cannot be read: {error}", "resume from an older one"
        ) from error


def check_trained(
    saved: Mapping[str, Any], trained: Mapping[str, Any], folder: Path, prefix: str = "weight."
) -> None:
    """Raise CheckpointError where a checkpoint's tensors are not by name and shape those that are `trained`."""
    found = {
        name.removeprefix(prefix): tuple(value.shape)
        for name, value in saved.items()
        if name.startswith(prefix)
    }
    if found != {name: tuple(value.shape) for name, value in trained.items()}:
        raise CheckpointError(
            f"{folder}: the checkpoint holds other weights than this recipe trains",
            "resume with the recipe that the run was started with",
        )


def check_finite(folder: Path) -> None:
    """Raise CheckpointError where the exact state of a checkpoint holds what is no number."""
    if names := not_finite(folder / STATE):
        raise CheckpointError(
            f"{folder}: the checkpoint holds NaN or infinity in {len(names)} of its tensors, as {names[0]}",
            "resume from an older one",
        )


def _ordered(value: Any) -> Any:
    """Sets become lists in whatever order the process has; sorted, the same run writes the same file."""
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    return value
