"""An adapter in mlx-lm's layout, written in PEFT's, so that every backend can start from it."""

import json

import numpy as np
from safetensors.numpy import save_file

from engine.errors import ModelError
from engine.models import adapter_files
from engine.models.mlx_names import transformers_name
from engine.models.saved_adapter import PREFIX, SavedAdapter, read_adapter
from engine.models.weights import read_floats

MLX_PARTS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
"""mlx-lm's names of the parts of a layer's update, and PEFT's."""


def to_peft(start: SavedAdapter, kind: str) -> SavedAdapter:
    """The same adapter in PEFT's layout, written in the place of mlx-lm's; `kind` is the base model's `model_type`.

    mlx-lm holds A and B transposed, DoRA's magnitude as `m`, and a scale in the place of alpha. Raises ModelError where
    it is for layers that PEFT adapts otherwise (embeddings, experts).
    """
    if start.layout == "peft":
        return start
    tensors = {}
    for name, value in read_floats(start.weights).items():
        path, _, part = name.rpartition(".")
        if part not in MLX_PARTS or value.ndim != (1 if part == "m" else 2):
            raise ModelError(
                f"{start.folder}: no run can start from this adapter: {name} does not belong to a linear layer",
                "Train an adapter of linear layers, as attention's and the MLP's.",
            )
        tensors[f"{PREFIX}{transformers_name(kind, path)}.{MLX_PARTS[part]}"] = np.ascontiguousarray(value.T)
    settings = start.settings
    about = {
        "base_model_name_or_path": start.base,
        "bias": "none",
        "fan_in_fan_out": kind == "gpt2",
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": settings["alpha"],
        "peft_type": "LORA",
        "r": settings["rank"],
        "target_modules": sorted(
            name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in tensors if ".lora_A." in name
        ),
        "task_type": "CAUSAL_LM",
        "use_dora": settings["type"] == "dora",
        "use_rslora": False,
    }
    save_file(tensors, start.folder / adapter_files.WEIGHTS, metadata={"format": "pt"})
    (start.folder / adapter_files.CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return read_adapter(start.folder)
