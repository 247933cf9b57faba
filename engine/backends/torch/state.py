"""Weights in PEFT's layout for use, and the exact state to resume from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    disk_errors,
    write_config,
    write_json,
    write_tokenizer,
)
from engine.backends.torch.adapter_hooks import AdapterHooks
from engine.backends.torch.optimizer import OF_BITSANDBYTES, OWN, moments, restore
from engine.models.local import dtype_of, read_config
from engine.storage.regular_files import read_text

BESIDE = "beside."


def save_weights(
    model: Any, hooks: AdapterHooks, source: Path, folder: Path, add_tokens: Sequence[str] = ()
) -> None:
    """Write the adapter in PEFT's layout, or the whole model in the number format of `source`.

    With `add_tokens`, the tokenizer that has them lies beside it.
    """
    with disk_errors():
        if hasattr(model, "peft_config"):
            hooks.save(folder)
            (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card names folders of this machine
            path = folder / "adapter_config.json"
            write_json(path, json.loads(read_text(path)))
        else:
            _save_whole(model, source, folder, grown=bool(add_tokens))
        write_tokenizer(source, add_tokens, folder)


def _save_whole(model: Any, source: Path, folder: Path, grown: bool) -> None:
    """Weights, and config.json as it is in `source`, but for the format and, where it has `grown`, the tokens."""
    held = dtype_of(source)
    with _valid_generation_config(model):
        model.save_pretrained(folder, state_dict=_cast(model, getattr(torch, held)))
    (folder / "generation_config.json").unlink(missing_ok=True)
    config, live = read_config(source), read_config(folder)
    if config.get("model_type") != live.get("model_type"):  # the text model alone, of one that sees or hears
        config = live
    if grown:
        config |= {key: live[key] for key in ("vocab_size", "text_config") if key in live}
    write_config(folder, config, held)


def _cast(model: Any, held: torch.dtype) -> dict[str, Tensor]:
    """All tensors in the format `held`; those that share their memory (tied weights) still share it."""
    made: dict[tuple[int, torch.Size, tuple[int, ...]], Tensor] = {}
    found = {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            found[name] = value
            continue
        place = (value.data_ptr(), value.shape, value.stride())
        found[name] = made.setdefault(place, value.to(held))
    return found


@contextmanager
def _valid_generation_config(model: Any) -> Iterator[None]:
    """transformers refuses to write some published generation settings; the file of the source is delivered instead."""
    own = model.generation_config
    model.generation_config = type(own)()
    try:
        yield
    finally:
        model.generation_config = own


def save_state(
    trained: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    hooks: AdapterHooks,
    folder: Path,
) -> None:
    """Write fp32 weights, AdamW's two moments and step count for each, and what the adapter needs besides."""
    tensors = {f"{BESIDE}{name}": value for name, value in hooks.tensors().items()}
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
    hooks: AdapterHooks,
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
        hooks.restore(beside)
    if scaling:
        scaler.load_state_dict(scaling)
