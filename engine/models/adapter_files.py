"""An adapter's folder: its settings and tensors, read without anything heavy, and what is wrong with them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.local import read_object, require_regular_files
from engine.models.mismatch import refuse_not_finite
from engine.models.weights import not_finite

CONFIG, WEIGHTS, MLX_WEIGHTS = "adapter_config.json", "adapter_model.safetensors", "adapters.safetensors"
"""PEFT's settings and tensors, and the file in which mlx-lm has its tensors beside settings of the same name."""
PICKLED = "adapter_model.bin"


def check(folder: Path) -> dict[str, Any]:
    """The adapter's settings. Raises ModelError unless they and the tensors are whole, and all values are numbers."""
    settings = read_settings(folder)
    file = weights_file(folder, settings)
    hint = "What trained it diverged: take an earlier checkpoint, or train again with a lower learning rate."
    refuse_not_finite(file, not_finite(file), hint)
    return settings


def read_settings(folder: Path) -> dict[str, Any]:
    """The adapter_config.json. Raises ModelError where it is missing, not a JSON object, or names code to run."""
    if not folder.is_dir():
        raise ModelError(f"There is no folder {folder}.", "Check the path of the adapter.")
    require_regular_files(folder)
    settings = read_object(folder / CONFIG)
    if settings.get("megatron_config"):  # PEFT would import whatever module `megatron_core` names
        raise ModelError(
            f"{folder} is an adapter for Megatron's layers, which ft does not load.",
            "Train one on the transformers model.",
        )
    return settings


def base_named(settings: Mapping[str, Any]) -> str:
    """The model that an adapter was trained on, as its settings name it; empty where they do not."""
    return str(settings.get("base_model_name_or_path") or settings.get("model") or "")


def fingerprint(folder: Path) -> str:
    """sha256 of an adapter's settings and tensors. Raises ModelError where they are not there."""
    settings = read_settings(folder)
    digest = hashlib.sha256((folder / CONFIG).read_bytes())
    with weights_file(folder, settings).open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def weights_file(folder: Path, settings: dict[str, Any]) -> Path:
    """The file of the adapter's tensors, in PEFT's layout or mlx-lm's. Raises ModelError where it is not there."""
    file = folder / (WEIGHTS if "peft_type" in settings else MLX_WEIGHTS)
    if file.is_file():
        return file
    if (folder / PICKLED).is_file():
        raise ModelError(
            f"{folder} has only a pickled adapter ({PICKLED}), which can run code when it is read.",
            "Convert it where you trust the author: PEFT's save_pretrained writes adapter_model.safetensors.",
        )
    raise ModelError(f"{folder} has no {file.name}.", "Copy the whole folder of the adapter.")
