"""Adapters on mlx-lm's models in PEFT's layout: the same names, shapes and scale, so either side reads the other's."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_unflatten
from safetensors.numpy import save_file

from engine.backends.adapter_init import FROM_WEIGHTS, doubled, scaling
from engine.backends.files import disk_errors, write_json
from engine.backends.mlx import adapter_init, families, vocabulary
from engine.backends.mlx.adapter_init import Values
from engine.backends.mlx.layers import DoraLinear, Dropout, LoraLinear
from engine.backends.mlx.refusals import experts_refused
from engine.config.schema import TrainConfig
from engine.errors import ConfigError
from engine.models.adapter_files import CONFIG, WEIGHTS
from engine.models.adapters import EXPERTS, left_out
from engine.models.language_model import of_language_model

PREFIX = "base_model.model."
"""Prefix of a layer's path in PEFT's files."""
ROWS, HEAD = "token_adapter.trainable_tokens_delta", "lm_head"
"""PEFT's names of the rows of new tokens, and of the output layer that is tied to an embedding."""
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
    """Layers as `adapter_config.json` has them: names, or whole paths in transformers' model."""
    dora: bool = False
    rank_stabilised: bool = False
    dropout: float = 0.0
    taken: dict[str, Values] = field(default_factory=dict)
    """A and B that the start took out of the weights, by layer (PiSSA, OLoRA): W + s (B A - B0 A0) is a plain LoRA of
    twice the rank on the model as it is published, and saved as one."""

    beside: vocabulary.Beside = field(default_factory=dict)
    """Rows of new tokens, and layers that are trained whole, by path."""
    ids: tuple[int, ...] = ()
    """Whose rows they are."""
    tied: bool = False
    """True if embedding and output are one matrix."""

    @property
    def scale(self) -> float:
        return scaling(self.alpha, self.rank, self.rank_stabilised)

    def install(self, model: Any) -> Dropout:
        """Put the layers on the model, trainable; `read` has made sure that they fit."""
        modules = dict(model.named_modules())
        drops, form = Dropout(self.dropout), DoraLinear if self.dora else LoraLinear
        made: list[tuple[str, Any]] = []
        for path, values in sorted(self.layers.items()):
            base = modules[path]
            if path in self.taken:
                adapter_init.shift(base, self.taken[path], -self.scale)
            layer = form(base, mx.array(values["lora_A"]), self.scale, drops)
            for name in values.keys() - {"lora_A"}:
                setattr(layer, name, mx.array(values[name]))
            layer.freeze()
            layer.unfreeze(recurse=False, keys=list(FILE_NAMES))
            made.append((path, layer))
        model.update_modules(tree_unflatten(made))
        vocabulary.install(model, self.beside, self.ids)
        return drops

    def go_on(self, model: Any, saved: Values) -> "Adapter":
        """The adapter with the start of a checkpoint (as of `start.flat`) out of the weights in place of its own."""
        return replace(self, taken=adapter_init.retake(model, self.taken, saved, self.scale))

    def without_effect(self, model: Any) -> dict[str, mx.array]:
        """Values, by path and our name, with which the layers compute what the model computed before the adapter."""
        modules = dict(model.named_modules())
        values: dict[str, mx.array] = {}
        for path, own in self.layers.items():
            taken = self.taken.get(path, own)
            a, b = mx.array(taken["lora_A"]), mx.array(taken["lora_B"])
            b = b if path in self.taken else mx.zeros_like(b)
            values |= {f"{path}.lora_A": a, f"{path}.lora_B": b}
            if self.dora:
                values[f"{path}.magnitude"] = modules[path].length(a, b)
        return values

    def save(self, trained: dict[str, mx.array], base: Path, folder: Path) -> None:
        """Write the values of `trained` (by path and our name) as PEFT does; the same values give the same bytes."""
        tensors: dict[str, Any] = {}
        for path, value in trained.items():
            layer, _, name = path.rpartition(".")
            if layer in self.beside:
                tensors |= {PREFIX + found: np.array(value) for found in self._names_beside(layer, name)}
                continue
            parts, axis = [np.array(value)], 0
            if name in self.taken.get(layer, {}):
                sign, axis = (1, 0) if name == "lora_A" else (-1, 1)
                parts.append(sign * self.taken[layer][name])
            name = f"{families.transformers_name(self.kind, layer)}.{FILE_NAMES[name]}"
            tensors[PREFIX + name] = np.ascontiguousarray(np.concatenate(parts, axis))
        folder.mkdir(parents=True, exist_ok=True)
        with disk_errors():
            save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        wide = replace(self, rank=2 * self.rank, alpha=doubled(self.alpha, self.rank_stabilised))
        write_json(folder / CONFIG, (wide if self.taken else self)._about(base))

    def _names_beside(self, layer: str, name: str) -> list[str]:
        """The names in PEFT's file of what is trained beside the layers; a tied matrix has both of its own."""
        own = families.transformers_name(self.kind, layer)
        if name == "rows":
            return [f"{own}.{ROWS}"]
        return [f"{own}.{name}", *([f"{HEAD}.{name}"] if self.tied else [])]

    def _told_beside(self) -> dict[str, Any]:
        """The settings that tell PEFT of it."""
        names = {path: families.transformers_name(self.kind, path).rpartition(".")[2] for path in self.beside}
        whole = [names[path] for path, values in self.beside.items() if "rows" not in values]
        whole += [HEAD] if whole and self.tied else []  # with both names, PEFT ties them
        rows = {names[path]: list(self.ids) for path, values in self.beside.items() if "rows" in values}
        return ({"modules_to_save": whole, "ensure_weight_tying": self.tied} if whole else {}) | (
            {"trainable_token_indices": rows} if rows else {}
        )

    def _about(self, base: Path) -> dict[str, Any]:
        """Settings from which PEFT rebuilds the adapter; all else has PEFT's defaults."""
        return self._told_beside() | {
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

    `all-linear` leaves out the head, what sees or hears, and the names in `left_out`, as every backend does.
    """
    wanted = config.adapter.target_modules
    linear = [p for p, m in model.named_modules() if isinstance(m, nn.Linear | nn.QuantizedLinear)]
    mixture, own = _is_mixture(model), of_language_model(linear)
    if wanted == "all-linear":
        without = left_out(kind, mixture)
        return sorted(path for path in own if path != head and path.rpartition(".")[2] not in without)
    taken_for_experts = EXPERTS if mixture else ()
    if experts := [name for name in wanted if name in taken_for_experts]:
        raise experts_refused(experts)
    names = tuple(families.mlx_name(kind, name) for name in wanted)
    found = sorted(path for path in own if path in names or path.endswith(tuple(f".{n}" for n in names)))
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
    named = {families.transformers_name(kind, path): path for path in paths}
    targets = sorted(named) if wanted.target_modules == "all-linear" else wanted.target_modules
    layers = adapter_init.values_of(wanted, config.seed, named, model)
    factors = {path: {name: values[name] for name in ("lora_A", "lora_B")} for path, values in layers.items()}
    return Adapter(
        kind, wanted.rank, wanted.alpha, layers, dropout=wanted.dropout, targets=tuple(targets),
        dora=wanted.type == "dora", rank_stabilised=wanted.rslora,
        taken=factors if wanted.init in FROM_WEIGHTS else {},
    )  # fmt: skip
