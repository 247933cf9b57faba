"""An adapter from its folder, in PEFT's layout or mlx-lm's, held against the model that it is for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from engine.backends.mlx import families, vocabulary
from engine.backends.mlx.adapter import FILE_NAMES, HEAD, PREFIX, ROWS, Adapter
from engine.backends.mlx.adapter_init import Values
from engine.backends.mlx.layers import inputs_of
from engine.errors import FtError, ModelError, first_line
from engine.hardware.memory import is_exhaustion
from engine.models import adapter_files
from engine.models.mismatch import Mismatch, Shape, refuse_foreign_adapter

OF_VOCABULARY = (
    ROWS,
    *(f".{name}.{part}" for name in ("embed_tokens", "wte", HEAD) for part in ("weight", "bias")),
)
"""Endings of the names of tensors of the embedding or output layer."""
CHOSEN_LAYERS = ("layers_to_transform", "layers_pattern", "exclude_modules")
"""PEFT's settings that take some layers out of those that `target_modules` names."""


def read(folder: Path, kind: str, model: Any) -> Adapter:
    """The adapter of a folder, for mlx-lm's `model` of the type `kind`.

    Raises ModelError where it is torn, for another model, or of a kind that MLX does not hold.
    """
    about = adapter_files.check(folder)
    try:
        values = _values(adapter_files.weights_file(folder, about))
        if "peft_type" in about:
            adapter = _with_vocabulary(_of_peft(about, values, kind), about, values, model)
        else:
            adapter = _of_mlx(about, values, kind)
        refuse_foreign_adapter(folder, _mismatch(adapter, about, model))
    except Exception as error:  # the settings of a stranger can go wrong in any way
        if is_exhaustion(error) or isinstance(error, FtError):
            raise
        raise ModelError(
            f"{folder}: the adapter does not load in MLX: {first_line(error)}",
            "check the folder, or use backend: peft",
        ) from error
    return adapter


def _values(file: Path) -> Values:
    """All tensors in fp32; MLX reads bf16 too, for which numpy has no format."""
    tensors: Any = mx.load(str(file))
    return {name: np.array(value.astype(mx.float32)) for name, value in tensors.items()}


def _of_peft(about: Mapping[str, Any], tensors: Values, kind: str) -> Adapter:
    if any(".experts." in name for name in tensors):
        raise ValueError("it is for a mixture's experts, which ft does not train with MLX")
    if about["peft_type"] != "LORA" or about.get("rank_pattern") or about.get("alpha_pattern"):
        raise ValueError("only LoRA and DoRA of one rank are held by MLX")
    layers: dict[str, Values] = {}
    own = {theirs: ours for ours, theirs in FILE_NAMES.items()}
    for name, value in tensors.items():
        if name.endswith(OF_VOCABULARY):
            continue
        found = re.fullmatch(rf"{re.escape(PREFIX)}(.+?)\.({'|'.join(map(re.escape, own))})", name)
        if not found:
            raise ValueError(f"{name} is not part of a LoRA adapter of linear layers")
        layers.setdefault(families.mlx_name(kind, found[1]), {})[own[found[2]]] = value
    targets = about["target_modules"]
    return Adapter(
        kind, about["r"], about["lora_alpha"], layers, dropout=about.get("lora_dropout", 0.0),
        targets=(targets,) if isinstance(targets, str) else tuple(targets),
        dora=about.get("use_dora", False), rank_stabilised=about.get("use_rslora", False),
    )  # fmt: skip


def _with_vocabulary(adapter: Adapter, about: Mapping[str, Any], tensors: Values, model: Any) -> Adapter:
    """The adapter with what it trains of embedding and output layer."""
    embedding, head = vocabulary.embedding_path(model), vocabulary.head_path(model)
    beside: vocabulary.Beside = {}
    known = set()
    for path in dict.fromkeys((embedding, head)):
        own = PREFIX + families.transformers_name(adapter.kind, path)
        names = {"rows": f"{own}.{ROWS}", "weight": f"{own}.weight", "bias": f"{own}.bias"}
        values = {part: mx.array(tensors[name]) for part, name in names.items() if name in tensors}
        known |= set(names.values())
        if values:
            beside[path] = values
    if embedding == head:  # PEFT writes a tied matrix under both of its names
        known |= {f"{PREFIX}{HEAD}.weight", f"{PREFIX}{HEAD}.bias"}
    if strange := [name for name in tensors if name.endswith(OF_VOCABULARY) and name not in known]:
        raise ValueError(f"{strange[0]} is not part of a LoRA adapter of linear layers")
    indices = about.get("trainable_token_indices") or {}
    ids = {tuple(of_one) for of_one in (indices.values() if isinstance(indices, dict) else [indices])}
    if len(ids) > 1:
        raise ValueError("it trains other tokens in the embedding than in the output layer")
    return replace(adapter, beside=beside, ids=next(iter(ids), ()), tied=embedding == head)


def _of_mlx(about: Mapping[str, Any], tensors: Values, kind: str) -> Adapter:
    """mlx-lm holds A and B transposed, and their scale in place of alpha."""
    if about.get("fine_tune_type", "lora") == "full":
        raise ValueError("it holds whole weights, not an adapter")
    settings = about["lora_parameters"]
    own = {"lora_a": "lora_A", "lora_b": "lora_B", "m": "magnitude"}
    layers: dict[str, Values] = {}
    for name, value in tensors.items():
        path, _, part = name.rpartition(".")
        layers.setdefault(path, {})[own[part]] = value.T
    return Adapter(
        kind, settings["rank"], settings["scale"] * settings["rank"], layers,
        targets=tuple(sorted(families.transformers_name(kind, path) for path in layers)),
        dora=about.get("fine_tune_type") == "dora", dropout=settings.get("dropout", 0.0),
    )  # fmt: skip


def _mismatch(adapter: Adapter, about: Mapping[str, Any], model: Any) -> Mismatch:
    """Differences from the tensors that such an adapter has on this model; by PEFT's names."""
    expected: dict[str, Shape] = {}
    for path, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | nn.QuantizedLinear):
            continue
        name = families.transformers_name(adapter.kind, path)
        if path in adapter.layers or (not _chooses(about) and _is_target(name, adapter.targets)):
            outputs = layer.weight.shape[0]
            expected[f"{name}.{FILE_NAMES['lora_A']}"] = (adapter.rank, inputs_of(layer))
            expected[f"{name}.{FILE_NAMES['lora_B']}"] = (outputs, adapter.rank)
            if adapter.dora:
                expected[f"{name}.{FILE_NAMES['magnitude']}"] = (outputs,)
    found = {
        f"{families.transformers_name(adapter.kind, path)}.{FILE_NAMES[part]}": value.shape
        for path, values in adapter.layers.items()
        for part, value in values.items()
    }
    modules = dict(model.named_modules())
    for path, values in adapter.beside.items():
        rows, width = modules[path].weight.shape
        for part, value in values.items():
            name = f"{families.transformers_name(adapter.kind, path)}.{ROWS if part == 'rows' else part}"
            found[name] = value.shape
            shapes = {"rows": (len(adapter.ids), width), "weight": (rows, width), "bias": (rows,)}
            expected[name] = shapes[part]
    return Mismatch.between(found, expected)


def _chooses(about: Mapping[str, Any]) -> bool:
    return any(about.get(key) is not None for key in CHOSEN_LAYERS)


def _is_target(name: str, targets: Sequence[str]) -> bool:
    """As PEFT has it: a list names layers by the end of their path, one text is a pattern for the whole path."""
    if len(targets) == 1 and re.fullmatch(targets[0], name):
        return True
    return any(name == target or name.endswith(f".{target}") for target in targets)
