"""An adapter's folder as mlx-lm itself would load it, tried on the base's architecture without reading its weights."""

import json
from pathlib import Path
from typing import Any

from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import _get_classes  # what its load takes

from engine.backends.mlx import families
from engine.errors import ModelError, first_line
from engine.models.local import read_config
from engine.models.mlx_names import TRANSFORMERS_PREFIX


def try_adapter(base: Path, folder: Path) -> None:
    """Load the adapter of `folder` with mlx-lm's loader, on the model that the config.json of `base` describes.

    Raises ModelError where mlx-lm does not know the model, or lays out a layer that is adapted unlike transformers.
    """
    config = read_config(base)
    try:
        load_adapters(_bare(config), str(folder))
    except (ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise ModelError(
            f"The adapter does not fit mlx-lm's model of the type {config.get('model_type')}: {first_line(error)}",
            "Export the merged model instead: ft export RUN --format mlx",
        ) from error


def _bare(config: dict[str, Any]) -> Any:
    """The model with values that are never computed: only its layers and their sizes are wanted."""
    about = config | families.settings(config)
    classes: tuple[Any, Any] = _get_classes(about)
    return classes[0](classes[1].from_dict(about))


def needs_conversion(base: Path) -> bool:
    """Return True if mlx-lm alone would read the model of `base` otherwise than it is: its names or its rotation."""
    return bool(families.settings(read_config(base))) or computes_otherwise(base)


def computes_otherwise(base: Path) -> bool:
    """Return True where that holds whatever its config.json says: mlx-lm has other names or windows."""
    config = read_config(base)
    return config.get("model_type") in TRANSFORMERS_PREFIX or bool(families.windows_of(config))


def readable(base: Path, scratch: Path) -> Path:
    """`base`, or links to it in `scratch` with a config.json that mlx-lm alone reads as it is meant."""
    config = read_config(base)
    if not (settings := families.settings(config)):
        return base
    scratch.mkdir()
    for file in base.iterdir():
        if file.name != "config.json":
            (scratch / file.name).symlink_to(file.resolve())
    (scratch / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")
    return scratch
