"""An adapter in PEFT's layout, written in mlx-lm's: `mlx_lm.load(model, adapter_path=folder)` takes it as it is."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from engine.errors import ModelError
from engine.models import adapter_files
from engine.models.mlx_names import mlx_name
from engine.models.saved_adapter import EMBEDDINGS, PREFIX
from engine.models.tensors import Float32
from engine.models.weights import read_floats

PARTS = {
    "lora_A.weight": "lora_a",
    "lora_B.weight": "lora_b",
    "lora_magnitude_vector": "m",
    "lora_magnitude_vector.weight": "m",
}
"""PEFT's names of the parts of a layer's update, and mlx-lm's."""
PLACE = re.compile(r"(?:.+\.)?(?:layers|h)\.(?P<number>\d+)\.(?P<rest>.+)")
"""Path of a layer within a block of the model."""
OTHER_ARITHMETIC = {
    "layer_replication": "it repeats layers",
    "alora_invocation_tokens": "it is an activated LoRA, which begins at a text",
    "use_qalora": "it is a QA-LoRA",
    "use_bdlora": "its matrices are block-diagonal",
    "arrow_config": "it routes between adapters",
    "kasa_config": "it is a KaSA",
    "monteclora_config": "it is a MonteCLoRA",
    "target_parameters": "it adapts a mixture's experts",
    "lora_bias": "it trains biases of its own",
}
"""PEFT's settings with which a LoRA computes what mlx-lm's layers do not."""
FROM_CHANGED_WEIGHTS = re.compile(r"pissa|olora|corda|lora_ga|eva_reduced")
"""Starts that leave an adapter for weights other than the published ones."""
Layers = dict[str, dict[str, Float32]]
"""mlx-lm's parts of each layer's update, by its path in mlx-lm's model."""


@dataclass(frozen=True)
class LowRank:
    """Updates of linear layers as mlx-lm computes them: y = W x + scale · (x lora_a) lora_b, one scale for all.

    `lora_a` is [inputs, rank], `lora_b` [rank, outputs]; `m` [outputs] is DoRA's magnitude.
    """

    layers: Layers
    rank: int
    scale: float
    dora: bool

    def settings(self, base: str, blocks: int) -> dict[str, Any]:
        """The adapter_config.json for a model of so many blocks: keys of exactly the layers that are adapted."""
        count, keys = _keys(list(self.layers), blocks)
        return {
            "fine_tune_type": "dora" if self.dora else "lora",
            "lora_parameters": {"rank": self.rank, "scale": self.scale, "dropout": 0.0, "keys": keys},
            "model": base,
            "num_layers": count,
        }


def to_mlx(adapter: Path, kind: str, blocks: int, base: str, out: Path) -> LowRank:
    """Write the adapter of a folder into the folder `out`, for a model of so many blocks; `kind` is its `model_type`.

    Raises ModelError where it is damaged, or computes what mlx-lm's LoRA and DoRA do not.
    """
    about = adapter_files.check(adapter)
    refuse(adapter, about)
    found = _converted(adapter, about, kind)
    tensors = {
        f"{path}.{part}": value for path, values in found.layers.items() for part, value in values.items()
    }
    save_file(tensors, out / adapter_files.MLX_WEIGHTS, metadata={"format": "mlx"})
    text = json.dumps(found.settings(base, blocks), indent=2)
    (out / adapter_files.CONFIG).write_text(text + "\n", encoding="utf-8")
    return found


def refuse(folder: Path, about: Mapping[str, Any]) -> None:
    """Raise ModelError for settings of PEFT that no adapter of mlx-lm expresses."""
    if about.get("peft_type") != "LORA":
        raise _refused(
            folder, f"it is of the type {about.get('peft_type')}, and mlx-lm has LoRA and DoRA alone"
        )
    if names := about.get("modules_to_save"):
        raise _refused(folder, f"it trains {', '.join(names)} whole")
    if about.get("trainable_token_indices"):
        raise _refused(folder, "it trains rows of new tokens")
    if about.get("bias", "none") != "none":
        raise _refused(folder, f"it trains the model's biases (bias: {about['bias']})")
    if FROM_CHANGED_WEIGHTS.match(str(about.get("init_lora_weights", True))):
        raise _refused(folder, f"its start ({about['init_lora_weights']}) changed the base's weights")
    for setting, told in OTHER_ARITHMETIC.items():
        if about.get(setting):
            raise _refused(folder, told)


def _refused(folder: Path, why: str) -> ModelError:
    return ModelError(
        f"{folder}: mlx-lm has no adapter for this one: {why}.",
        "Export the merged model, which mlx-lm loads without an adapter: ft export RUN --format mlx",
    )


def _converted(folder: Path, about: Mapping[str, Any], kind: str) -> LowRank:
    layers: Layers = {}
    scales: dict[str, float] = {}
    for name, value in read_floats(folder / adapter_files.WEIGHTS).items():
        path, part = _place(folder, name)
        if part == "lora_a":
            scales[mlx_name(kind, path)] = _scale(about, path, value.shape[0])
        layers.setdefault(mlx_name(kind, path), {})[part] = value.T
    if torn := [path for path, values in layers.items() if not {"lora_a", "lora_b"} <= values.keys()]:
        raise ModelError(f"{folder}: {torn[0]} has only one half of its update.", "Copy the adapter again.")
    if not layers:
        raise ModelError(f"{folder}: the adapter has no tensors.", "Copy the adapter again.")
    rank = max(values["lora_a"].shape[1] for values in layers.values())
    shared = set(scales.values())
    scale = shared.pop() if len(shared) == 1 else 1.0
    for path, values in layers.items():
        own = scales[path] / scale
        layers[path] = values | _padded(values["lora_a"], values["lora_b"] * np.float32(own), rank)
    return LowRank(layers, rank, scale, bool(about.get("use_dora")))


def _place(folder: Path, name: str) -> tuple[str, str]:
    """Path of a tensor's layer in transformers' model, and mlx-lm's name of the part. Raises ModelError."""
    bare = name.removeprefix(PREFIX)
    path, part = next(
        (
            (bare.removesuffix(f".{theirs}"), own)
            for theirs, own in PARTS.items()
            if bare.endswith(f".{theirs}")
        ),
        ("", ""),
    )
    if not path or ".experts" in path:
        raise _refused(folder, f"{bare} does not belong to a LoRA of a linear layer")
    if path.rpartition(".")[2] in EMBEDDINGS:
        raise _refused(folder, f"it adapts the embedding ({path})")
    return path, part


def _scale(about: Mapping[str, Any], path: str, rank: int) -> float:
    """Factor of a layer's update: alpha / r, or alpha / √r with rsLoRA. A pattern names layers by the end of their
    path, as `peft.utils.other.get_pattern_key` has it."""
    patterns = about.get("alpha_pattern") or {}
    found = next((each for each in patterns if re.match(rf"(.*\.)?({each})$", path)), None)
    alpha = float(about["lora_alpha"] if found is None else patterns[found])
    return alpha / rank**0.5 if about.get("use_rslora") else alpha / rank


def _padded(a: Float32, b: Float32, rank: int) -> dict[str, Float32]:
    """The same product at a higher rank: mlx-lm has one rank for all layers."""
    missing = rank - a.shape[1]
    return {
        "lora_a": np.ascontiguousarray(np.pad(a, ((0, 0), (0, missing)))),
        "lora_b": np.ascontiguousarray(np.pad(b, ((0, missing), (0, 0)))),
    }


def _keys(paths: list[str], blocks: int) -> tuple[int, list[str]]:
    """`num_layers` and `keys`, which name layers within the last so many blocks, or by their whole path anywhere."""
    within: dict[int, set[str]] = {}
    for path in paths:
        if not (found := PLACE.fullmatch(path)):
            return blocks, sorted(paths)  # as the output layer
        within.setdefault(int(found["number"]), set()).add(found["rest"])
    names = within[max(within)]
    same = all(each == names for each in within.values())
    if same and sorted(within) == list(range(blocks - len(within), blocks)):
        return len(within), sorted(names)
    return blocks, sorted(paths)
