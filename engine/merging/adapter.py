"""A LoRA adapter as its files hold it, in PEFT's layout or mlx-lm's: what it changes of each layer."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.merging.rows import Factors
from engine.models import adapter_files
from engine.models.mlx_names import transformers_name
from engine.models.saved_adapter import PREFIX
from engine.models.tensors import FileTensors, Float32

ROLES = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_B.bias": "B.bias",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "lora_embedding_A": "embedding_A",
    "lora_embedding_B": "embedding_B",
    "token_adapter.trainable_tokens_delta": "rows",
    "base_layer.weight": "weight",
    "base_layer.bias": "bias",
    "modules_to_save.weight": "weight",
    "modules_to_save.bias": "bias",
    "weight": "weight",
    "bias": "bias",
}
"""PEFT's endings of tensors' names, and what they are of a layer; `weight` and `bias` are in the base's place."""
MLX_ROLES = {"lora_a": "A", "lora_b": "B", "m": "magnitude"}
NOT_MERGED = {
    "alora_invocation_tokens": "an activated LoRA (aLoRA), which is on from some tokens on",
    "layer_replication": "a LoRA of a model whose layers are repeated",
    "arrow_config": "an Arrow router, which chooses between adapters for each token",
    "use_qalora": "a QALoRA, which is of a quantised model",
    "use_bdlora": "a block-diagonal LoRA",
    "kasa_config": "a KaSA",
    "velora_config": "a VeLoRA",
}
"""Settings of PEFT by which an adapter is more than a low-rank update."""
FROM_WEIGHTS = ("pissa", "olora", "corda", "lora_ga")
"""Starts that take something out of the base's weights, which an adapter saved as it is does not say."""


@dataclass(frozen=True)
class LoraAdapter:
    """LoRA, rsLoRA or DoRA, and what was trained beside it; `layers` names the tensor of each role by layer."""

    folder: Path
    settings: Mapping[str, Any]
    tensors: FileTensors
    layers: Mapping[str, Mapping[str, str]]
    """By the layer's path in transformers' model."""
    mlx: bool = False

    def tensor(self, path: str, role: str) -> Float32 | None:
        """Values of a role of a layer, turned as PEFT has them; None where the adapter has none."""
        name = self.layers[path].get(role)
        if name is None:
            return None
        values = self.tensors.read(name)
        return values.T if self.mlx else values

    def factors(self, path: str) -> Factors | None:
        """Update `[outputs, inputs]` of a linear layer; None where it has none. Raises ModelError for a half of one."""
        a, b = self.tensor(path, "A"), self.tensor(path, "B")
        if a is None and b is None:
            return None
        if a is None or b is None or a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise self.damaged(path)
        return Factors(b, a, self.scale(path, a.shape[0]))

    def scale(self, path: str, rank: int) -> float:
        """Scale of a layer's update: alpha/r, with rsLoRA alpha/√r (Kalajdzievski 2023, arXiv:2312.03732)."""
        if self.mlx:
            return float(self.settings["lora_parameters"]["scale"])
        patterns: Mapping[str, float] = self.settings.get("alpha_pattern") or {}
        # As PEFT: a key is an expression for the end of a path.
        fitting = [value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", path)]
        alpha = float(fitting[0] if fitting else self.settings["lora_alpha"])
        return alpha / (math.sqrt(rank) if self.settings.get("use_rslora") else rank)

    def token_ids(self, path: str) -> tuple[int, ...]:
        """Tokens whose rows of the layer at `path` are trained."""
        indices = self.settings.get("trainable_token_indices") or []
        if not isinstance(indices, dict):
            return tuple(map(int, indices))
        for name, ids in indices.items():
            if path == name or path.endswith(f".{name}"):
                return tuple(map(int, ids))
        return ()

    @cached_property
    def keeps_tied(self) -> bool:
        """True if embedding and output, tied in the base, were trained as one matrix."""
        return bool(self.settings.get("ensure_weight_tying"))

    def damaged(self, path: str) -> ModelError:
        """Error for a layer whose tensors do not belong together."""
        return ModelError(
            f"{self.folder}: the tensors of {path} do not make a LoRA update.",
            "The adapter is damaged; copy it again.",
        )


def read_lora(folder: Path, kind: str) -> LoraAdapter:
    """The adapter in a folder; `kind` is the base's `model_type`.

    Raises ModelError where it is torn, holds NaN, or is more than LoRA with what is trained beside it.
    """
    settings = adapter_files.check(folder)
    file = FileTensors((adapter_files.weights_file(folder, settings),))
    mlx = "peft_type" not in settings
    if mlx:
        _refuse_other_mlx(folder, settings)
    else:
        _refuse_other_peft(folder, settings)
    layers: dict[str, dict[str, str]] = {}
    for name in file.infos:
        path, role = _mlx_place(name, kind) if mlx else _peft_place(name)
        if role is None:
            raise ModelError(
                f"{folder}: {name} is not part of a LoRA that can be merged.",
                "Use the adapter where it is loaded beside its base: ft generate, ft export --format adapter.",
            )
        layers.setdefault(path, {})[role] = name
    return LoraAdapter(folder, settings, file, layers, mlx)


def _peft_place(name: str) -> tuple[str, str | None]:
    """A layer's path, and the role in it of the tensor of a PEFT adapter; the role is None where it has none."""
    for ending, role in ROLES.items():
        if name.endswith(f".{ending}"):
            return name.removeprefix(PREFIX).removesuffix(f".{ending}"), role
    return name, None


def _mlx_place(name: str, kind: str) -> tuple[str, str | None]:
    path, _, part = name.rpartition(".")
    return transformers_name(kind, path), MLX_ROLES.get(part)


def _refuse_other_mlx(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise ModelError where the settings are not those of a LoRA or DoRA by mlx-lm."""
    kind = settings.get("fine_tune_type", "lora")
    parameters = settings.get("lora_parameters")
    if kind not in ("lora", "dora") or not isinstance(parameters, dict) or "scale" not in parameters:
        raise ModelError(
            f"{folder}: {adapter_files.CONFIG} does not describe a LoRA or DoRA of mlx-lm (fine_tune_type: {kind}).",
            "Copy the whole folder of the adapter; weights that were trained whole need no merging.",
        )


def _refuse_other_peft(folder: Path, settings: Mapping[str, Any]) -> None:
    if "lora_alpha" not in settings:
        raise ModelError(
            f"{folder}: {adapter_files.CONFIG} has no lora_alpha.",
            "Copy the whole folder of the adapter again.",
        )
    for key, what in NOT_MERGED.items():
        if settings.get(key):
            raise ModelError(
                f"{folder} is {what}: no full weights are equal to it.",
                "Use the adapter where it is loaded beside its base.",
            )
    start = str(settings.get("init_lora_weights", True)).lower()
    if start.startswith(FROM_WEIGHTS):
        raise ModelError(
            f"{folder}: the adapter starts from weights that {start} changed, and belongs to those, not to its base.",
            "Convert it to a plain LoRA where it was trained: PEFT's save_pretrained(path_initial_model_for_weight_"
            "conversion=…). ft's own runs do so.",
        )
