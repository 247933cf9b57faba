"""An adapter in mlx-lm's layout, written in PEFT's, so that every backend can start from it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from engine.errors import ModelError
from engine.models import adapter_files
from engine.models.mlx_names import transformers_name
from engine.models.saved_adapter import EMBEDDINGS, PREFIX, SavedAdapter, read_adapter
from engine.models.weights import read_floats

MLX_PARTS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
"""mlx-lm's names of the parts of a layer's update, and PEFT's."""


def to_peft(start: SavedAdapter, kind: str) -> SavedAdapter:
    """The same adapter in PEFT's layout, written in the place of mlx-lm's; `kind` is the base model's `model_type`.

    Raises ModelError as `write_peft` does.
    """
    if start.layout == "peft":
        return start
    write_peft(start, kind, start.folder, start.base)
    return read_adapter(start.folder)


def write_peft(adapter: SavedAdapter, kind: str, out: Path, base: str) -> None:
    """Write an adapter of mlx-lm's layout into the folder `out` as PEFT has it, for the base of that name.

    mlx-lm holds A and B transposed, DoRA's magnitude as `m`, and a scale in the place of alpha. Raises ModelError where
    it is for layers that PEFT adapts otherwise (embeddings, experts).
    """
    tensors = {}
    for name, value in read_floats(adapter.weights).items():
        path, _, part = name.rpartition(".")
        linear = part in MLX_PARTS and value.ndim == (1 if part == "m" else 2)
        if not linear or path.rpartition(".")[2] in EMBEDDINGS:
            raise ModelError(
                f"{adapter.folder}: PEFT adapts this otherwise: {name} does not belong to a linear layer.",
                "Train an adapter of linear layers, as attention's and the MLP's.",
            )
        tensors[f"{PREFIX}{transformers_name(kind, path)}.{MLX_PARTS[part]}"] = np.ascontiguousarray(value.T)
    save_file(tensors, out / adapter_files.WEIGHTS, metadata={"format": "pt"})
    targets = sorted(
        name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in tensors if ".lora_A." in name
    )
    about = _settings(adapter, kind, base, targets)
    (out / adapter_files.CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _settings(adapter: SavedAdapter, kind: str, base: str, targets: list[str]) -> dict[str, Any]:
    """Settings from which PEFT rebuilds the adapter; all else has PEFT's defaults."""
    return {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": kind == "gpt2",
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": adapter.settings["alpha"],
        "peft_type": "LORA",
        "r": adapter.settings["rank"],
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": adapter.settings["type"] == "dora",
        "use_rslora": False,
    }
