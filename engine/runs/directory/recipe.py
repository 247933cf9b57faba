"""A run's recipe by dotted key, as lists, filters and comparisons ask for it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import FtError
from engine.storage.regular_files import open_binary


def read_config(path: Path) -> tuple[dict[str, Any], str]:
    """The recipe by dotted key, and what is wrong with it."""
    # Imported where a run is new: it costs 30 ms.
    from engine.config.yaml_plain import read_plain
    from engine.config.yaml_reader import MAX_BYTES, read_yaml

    try:
        with open_binary(path) as file:
            text = file.read(MAX_BYTES + 4).decode("utf-8")
        values = read_plain(text) if len(text) < MAX_BYTES else None
        values = read_yaml(text, path.name, []).data() if values is None else values
    except OSError as error:
        return {}, f"train.yml cannot be read: {error.strerror}."
    except UnicodeDecodeError:
        return {}, "train.yml cannot be read: it is not a text file."
    except FtError as error:
        return {}, f"train.yml cannot be read: {error.message}"
    if not isinstance(values, dict):
        return {}, "train.yml cannot be read: it is not a mapping."
    return dict(flattened(values)), ""


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as pairs of dotted key and value."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            pairs += flattened(value, f"{prefix}{key}.")
        else:
            pairs.append((sys.intern(f"{prefix}{key}"), value))
    return pairs
