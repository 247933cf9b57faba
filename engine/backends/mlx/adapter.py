"""Adapters on mlx-lm's models in PEFT's layout: the same names, shapes and scale, so either side reads the other's."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_unflatten
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engine.backends.files import disk_errors, write_json
from engine.backends.initial import FROM_WEIGHTS, doubled, scaling
from engine.backends.mlx import families, start
from engine.backends.mlx.layers import DoraLinear, Dropout, LoraLinear, inputs_of
from engine.backends.mlx.start import Values
from engine.config.schema import TrainConfig
from engine.errors import ConfigError, ModelError
from engine.models import mlx_names
from engine.models.adapters import EXPERTS
from engine.planning.backends import experts_refused

PREFIX = "base_model.model."
"""What PEFT puts before a layer's path."""
CONFIG, WEIGHTS, MLX_WEIGHTS = "adapter_config.json", "adapter_model.safetensors", "adapters.safetensors"
FILE_NAMES = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
"""Our parameters, and PEFT's names for them in its file."""


@dataclass(frozen=True)
class Adapter:
    """An adapter's settings and values; `layers` are by path in mlx-lm's model, their values by our names."""

    kind: str
    """The model's type, which decides how names translate."""
    rank: int
    alpha: float
    layers: dict[str, Values]
    targets: tuple[str, ...]
    """What `adapter_config.json` says of the layers: names, or whole paths in transformers' model."""
    dora: bool = False
    rank_stabilised: bool = False
    dropout: float = 0.0
    taken: dict[str, Values] = field(default_factory=dict)
    """A and B that the start took out of the weights, by layer (PiSSA, OLoRA): W + s (B A - B0 A0) is a plain LoRA of
    twice the rank on the model as it is published, and saved as one."""

    @property
    def scale(self) -> float:
        return scaling(self.alpha, self.rank, self.rank_stabilised)

    def install(self, model: Any) -> Dropout:
        """Put the layers on the model, trainable. Raises ModelError where they do not fit."""
        modules = dict(model.named_modules())
        drops, form = Dropout(self.dropout), DoraLinear if self.dora else LoraLinear
        made: list[tuple[str, Any]] = []
        for path, values in sorted(self.layers.items()):
            base = modules.get(path)
            if (
                not isinstance(base, nn.Linear | nn.QuantizedLinear)
                or inputs_of(base) != values["lora_A"].shape[1]
            ):
                raise ModelError(
                    f"The adapter is for another model: {path} is not a linear layer of "
                    f"{values['lora_A'].shape[1]} inputs here.",
                    "Use the base model that the adapter was trained on.",
                )
            if path in self.taken:
                start.shift(base, self.taken[path], -self.scale)
            layer = form(base, mx.array(values["lora_A"]), self.scale, drops)
            for name in values.keys() - {"lora_A"}:
                setattr(layer, name, mx.array(values[name]))
            layer.freeze()
            layer.unfreeze(recurse=False, keys=list(FILE_NAMES))
            made.append((path, layer))
        model.update_modules(tree_unflatten(made))
        return drops

    def go_on(self, model: Any, saved: Values) -> "Adapter":
        """The adapter with the start of a checkpoint (as of `start.flat`) out of the weights in place of its own."""
        return replace(self, taken=start.retake(model, self.taken, saved, self.scale))

    def save(self, trained: dict[str, mx.array], base: Path, folder: Path) -> None:
        """Write the values of `trained` (by path and our name) as PEFT does; the same values give the same bytes."""
        tensors = {}
        for path, value in trained.items():
            layer, _, name = path.rpartition(".")
            parts, axis = [np.array(value)], 0
            if name in self.taken.get(layer, {}):
                sign, axis = (1, 0) if name == "lora_A" else (-1, 1)
                parts.append(sign * self.taken[layer][name])
            name = f"{mlx_names.transformers_name(self.kind, layer)}.{FILE_NAMES[name]}"
            tensors[PREFIX + name] = np.ascontiguousarray(np.concatenate(parts, axis))
        folder.mkdir(parents=True, exist_ok=True)
        with disk_errors():
            save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        wide = replace(self, rank=2 * self.rank, alpha=doubled(self.alpha, self.rank_stabilised))
        write_json(folder / CONFIG, (wide if self.taken else self)._about(base))

    def _about(self, base: Path) -> dict[str, Any]:
        """What PEFT needs to rebuild the adapter; all else has PEFT's defaults."""
        return {
            "base_model_name_or_path": str(base),
            "bias": "none",
            "fan_in_fan_out": any(families.is_transposed(self.kind, path) for path in self.layers),
            "inference_mode": True,
            "init_lora_weights": True,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "peft_type": "LORA",
            "r": self.rank,
            "target_modules": list(self.targets),
            "task_type": "CAUSAL_LM",
            "use_dora": self.dora,
            "use_rslora": self.rank_stabilised,
        }


def targets_of(model: Any, config: TrainConfig, kind: str, head: str) -> list[str]:
    """Paths of the layers that the recipe adapts. Raises ConfigError where it names none, or experts.

    `all-linear` leaves out the head, and in a mixture what `EXPERTS` names, as every backend does.
    """
    wanted = config.adapter.target_modules
    linear = [p for p, m in model.named_modules() if isinstance(m, nn.Linear | nn.QuantizedLinear)]
    taken_for_experts = EXPERTS if _is_mixture(model) else ()
    if wanted == "all-linear":
        return sorted(p for p in linear if p != head and p.rpartition(".")[2] not in taken_for_experts)
    if experts := [name for name in wanted if name in taken_for_experts]:
        raise experts_refused(experts)
    names = tuple(mlx_names.mlx_name(kind, name) for name in wanted)
    found = sorted(path for path in linear if path in names or path.endswith(tuple(f".{n}" for n in names)))
    if not found:
        raise ConfigError(
            f"adapter.target_modules: {', '.join(wanted)}: this model has no such linear layer",
            "use all-linear, or names of linear layers as `ft models show` lists them",
        )
    return found


def _is_mixture(model: Any) -> bool:
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

    return any(isinstance(module, QuantizedSwitchLinear | SwitchLinear) for module in model.modules())


def fresh(config: TrainConfig, kind: str, paths: Sequence[str], model: Any) -> Adapter:
    """A new adapter on the layers at `paths`, as the recipe's `init` and seed start it. Raises ConfigError."""
    wanted = config.adapter
    named = {mlx_names.transformers_name(kind, path): path for path in paths}
    targets = sorted(named) if wanted.target_modules == "all-linear" else wanted.target_modules
    layers = start.values_of(wanted, config.seed, named, model)
    factors = {path: {name: values[name] for name in ("lora_A", "lora_B")} for path, values in layers.items()}
    return Adapter(
        kind, wanted.rank, wanted.alpha, layers, dropout=wanted.dropout, targets=tuple(targets),
        dora=wanted.type == "dora", rank_stabilised=wanted.rslora,
        taken=factors if wanted.init in FROM_WEIGHTS else {},
    )  # fmt: skip


def read(folder: Path, kind: str) -> Adapter:
    """An adapter folder of PEFT's or of mlx-lm's. Raises ModelError for what MLX cannot hold."""
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if "peft_type" in about:
            return _read_peft(about, load_file(folder / WEIGHTS), kind)
        return _read_mlx(about, load_file(folder / MLX_WEIGHTS), kind)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: the adapter does not load in MLX: {error}",
            "check the folder, or use backend: peft",
        ) from error


def _read_peft(about: dict[str, Any], tensors: Values, kind: str) -> Adapter:
    if any(".experts." in name for name in tensors):
        raise ValueError("it is for a mixture's experts, which ft does not train with MLX")
    if about["peft_type"] != "LORA" or about.get("rank_pattern") or about.get("alpha_pattern"):
        raise ValueError("only LoRA and DoRA of one rank are held by MLX")
    layers: dict[str, Values] = {}
    own = {theirs: ours for ours, theirs in FILE_NAMES.items()}
    for name, value in tensors.items():
        found = re.fullmatch(rf"{re.escape(PREFIX)}(.+?)\.({'|'.join(map(re.escape, own))})", name)
        if not found:
            raise ValueError(f"{name} is no part of a LoRA adapter of linear layers")
        layers.setdefault(mlx_names.mlx_name(kind, found[1]), {})[own[found[2]]] = value.astype(np.float32)
    targets = about["target_modules"]
    return Adapter(
        kind, about["r"], about["lora_alpha"], layers, dropout=about.get("lora_dropout", 0.0),
        targets=(targets,) if isinstance(targets, str) else tuple(targets),
        dora=about.get("use_dora", False), rank_stabilised=about.get("use_rslora", False),
    )  # fmt: skip


def _read_mlx(about: dict[str, Any], tensors: Values, kind: str) -> Adapter:
    """mlx-lm holds A and B transposed, and their scale in place of alpha."""
    if about.get("fine_tune_type", "lora") == "full":
        raise ValueError("it holds whole weights, not an adapter")
    settings = about["lora_parameters"]
    own = {"lora_a": "lora_A", "lora_b": "lora_B", "m": "magnitude"}
    layers: dict[str, Values] = {}
    for name, value in tensors.items():
        path, _, part = name.rpartition(".")
        layers.setdefault(path, {})[own[part]] = value.astype(np.float32).T
    return Adapter(
        kind, settings["rank"], settings["scale"] * settings["rank"], layers,
        targets=tuple(sorted(mlx_names.transformers_name(kind, path) for path in layers)),
        dora=about.get("fine_tune_type") == "dora", dropout=settings.get("dropout", 0.0),
    )  # fmt: skip
