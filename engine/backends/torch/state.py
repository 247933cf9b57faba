"""Weights in PEFT's layout for use, and the exact state for going on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.backends.files import (
    SCALER,
    STATE,
    check_finite,
    check_trained,
    checkpoint_errors,
    copy_companions,
    disk_errors,
    write_json,
    write_tokenizer,
)
from engine.backends.torch.companions import Companion
from engine.backends.torch.optimizer import OF_BITSANDBYTES, OWN, moments, restore
from engine.regular_files import read_text

BESIDE = "beside."


def save_weights(
    model: Any, companion: Companion, source: Path, folder: Path, add_tokens: Sequence[str] = ()
) -> None:
    """Write the adapter in PEFT's layout, or the whole model in the format and with the tokenizer of `source`.

    `add_tokens` are in the tokenizer too, also beside an adapter.
    """
    with disk_errors():
        if hasattr(model, "peft_config"):
            companion.save(folder)
            (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card; a run writes its own
            path = folder / "adapter_config.json"
            write_json(path, json.loads(read_text(path)))
            write_tokenizer(source, add_tokens, folder)
            return
        config = json.loads(read_text(source / "config.json"))
        held = getattr(torch, config.get("dtype") or config.get("torch_dtype") or "bfloat16")
        weights = {name: value.to(held) for name, value in model.state_dict().items()}
        model.save_pretrained(folder, state_dict=weights)
        write_tokenizer(source, add_tokens, folder)
        copy_companions(source, folder)


def save_state(
    trained: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    companion: Companion,
    folder: Path,
) -> None:
    """Write fp32 weights, AdamW's two moments and step count for each, and what the adapter needs besides."""
    tensors = {f"{BESIDE}{name}": value for name, value in companion.tensors().items()}
    for name, parameter in trained.items():
        tensors[f"weight.{name}"] = parameter.detach()
        for key, value in moments(optimizer, parameter).items():
            tensors[f"{key}.{name}"] = value
    with disk_errors():
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / STATE)
        (folder / SCALER).write_text(json.dumps(scaler.state_dict(), sort_keys=True) + "\n")


def load_state(
    trained: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    companion: Companion,
    folder: Path,
) -> None:
    """Take up what `save_state` wrote, to the bit. Raises CheckpointError where it belongs to another recipe."""
    with checkpoint_errors(folder):
        check_finite(folder)
        tensors = load_file(folder / STATE)
        scaling = json.loads(read_text(folder / SCALER))
    check_trained(tensors, trained, folder)
    states = {}
    for name, parameter in trained.items():
        parameter.data.copy_(tensors[f"weight.{name}"])
        keys = {*OWN, *OF_BITSANDBYTES}
        states[parameter] = {key: tensors[f"{key}.{name}"] for key in keys if f"{key}.{name}" in tensors}
    restore(optimizer, {parameter: state for parameter, state in states.items() if state})
    beside = {name.removeprefix(BESIDE): tensors[name] for name in tensors if name.startswith(BESIDE)}
    if beside:
        companion.restore(beside)
    if scaling:
        scaler.load_state_dict(scaling)
