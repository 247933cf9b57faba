"""Combination of LoRA adapters into one adapter: what each changes of a layer, as A, B and a scale."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from engine.errors import ConfigError
from engine.merging.adapter import LoraAdapter
from engine.models import adapter_files
from engine.models.saved_adapter import PREFIX
from engine.models.tensors import Float32

Layers = Mapping[str, tuple[Float32, Float32, float]]
"""A `[rank, inputs]`, B `[outputs, rank]` and scale of the update by layer."""
METHODS = (
    *(
        "cat",
        "linear",
        "svd",
        "ties",
        "ties_svd",
        "dare_linear",
        "dare_ties",
        "dare_linear_svd",
        "dare_ties_svd",
    ),
    *("magnitude_prune", "magnitude_prune_svd"),
)
"""Methods of PEFT's `add_weighted_adapter`; `cat` alone is exact."""
PRUNING = tuple(method for method in METHODS if method.startswith(("ties", "dare", "magnitude")))


def layers_of(adapter: LoraAdapter, what: str) -> Layers:
    """The updates of a LoRA of linear layers.

    Raises ConfigError, which names `what` was asked for, where the adapter is more than that.
    """
    found = {}
    for path, roles in adapter.layers.items():
        if other := roles.keys() - {"A", "B"}:
            raise ConfigError(
                f"{what} takes LoRA of linear layers alone, and {adapter.folder} has {_named(other)} ({path}).",
                "Use --method cat without --adapter-out: it adds what each adapter changes.",
            )
        if ".experts" in path:
            raise ConfigError(
                f"{what} takes LoRA of linear layers alone, and {adapter.folder} is for a mixture's experts ({path}).",
                "Use --method cat without --adapter-out: it adds what each adapter changes.",
            )
        factors = adapter.factors(path)
        assert factors is not None
        found[path] = (factors.right, factors.left, factors.scale)
    return found


def _named(roles: set[str]) -> str:
    names = {
        "magnitude": "DoRA's magnitudes",
        "B.bias": "lora_bias",
        "rows": "trained rows of tokens",
        "weight": "layers trained whole",
        "bias": "trained biases",
    }
    return names.get(min(roles), "a LoRA of the embedding")


def concatenated(adapters: Sequence[Layers], weights: Sequence[float]) -> Layers:
    """The exact weighted sum of the updates, of the sum of the ranks: Σ w B A = [w B, …] [A; …]."""
    found = {}
    for path in dict.fromkeys(path for adapter in adapters for path in adapter):
        here = [(weight, *own[path]) for own, weight in zip(adapters, weights, strict=True) if path in own]
        a = np.concatenate([a for _, a, _, _ in here])
        b = np.concatenate([np.float32(weight * scale) * b for weight, _, b, scale in here], axis=1)
        found[path] = (a, b, 1.0)
    return found


def distance(made: Layers, exact: Layers) -> float:
    """‖made - exact‖ / ‖exact‖ over all layers, by the Frobenius norm of the products, which are never made."""
    apart = whole = 0.0
    for path, (a, b, scale) in exact.items():
        whole += _square(a, scale * b)
        own_a, own_b, own_scale = made.get(path, (a[:0], b[:, :0], 1.0))
        apart += _square(np.concatenate([own_a, a]), np.concatenate([own_scale * own_b, -scale * b], axis=1))
    return float(np.sqrt(max(apart, 0.0) / whole)) if whole else 0.0


def _square(a: Float32, b: Float32) -> float:
    """‖B A‖², the sum of (BᵀB) ∘ (AAᵀ), in fp64: the differences are small."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return float(((wide_b.T @ wide_b) * (wide_a @ wide_a.T)).sum())


def save(layers: Layers, like: LoraAdapter, folder: Path) -> None:
    """Write an adapter in PEFT's layout, for the base of `like`; layers of lower rank are filled up with zeros."""
    rank = max(len(a) for a, _, _ in layers.values())
    tensors = {}
    for path, (a, b, scale) in layers.items():
        short = rank - len(a)
        tensors[f"{PREFIX}{path}.lora_A.weight"] = np.pad(a, ((0, short), (0, 0)))
        tensors[f"{PREFIX}{path}.lora_B.weight"] = np.pad(np.float32(scale) * b, ((0, 0), (0, short)))
    about = {
        "base_model_name_or_path": like.settings.get("base_model_name_or_path") or like.settings.get("model"),
        "revision": like.settings.get("revision"),
        "bias": "none",
        "fan_in_fan_out": bool(like.settings.get("fan_in_fan_out")),
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": sorted(layers),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    save_file(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()},
        folder / adapter_files.WEIGHTS,
        metadata={"format": "pt"},
    )
    (folder / adapter_files.CONFIG).write_text(
        json.dumps(about, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
