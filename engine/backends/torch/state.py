"""Weights in PEFT's layout for use, and the exact state for going on."""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import CheckpointError

STATE = "state.safetensors"
SCALER = "scaler.json"
TOKENIZER_FILES = (".json", ".jinja", ".model", ".txt")


def save_weights(model: Any, source: Path, folder: Path) -> None:
    """Write the adapter in PEFT's layout, or the whole model in the format and with the tokenizer of `source`."""
    with _disk_errors():
        if hasattr(model, "peft_config"):
            model.save_pretrained(folder, save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card; a run writes its own
            path = folder / "adapter_config.json"
            path.write_text(
                json.dumps(_ordered(json.loads(path.read_text())), indent=2, sort_keys=True) + "\n"
            )
            return
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        held = getattr(torch, config.get("dtype") or config.get("torch_dtype") or "bfloat16")
        weights = {name: value.to(held) for name, value in model.state_dict().items()}
        model.save_pretrained(folder, state_dict=weights)
        for path in source.iterdir():
            if path.is_file() and not (folder / path.name).exists() and path.suffix in TOKENIZER_FILES:
                shutil.copy(path, folder)


def save_state(
    trained: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    folder: Path,
) -> None:
    """Write fp32 weights and AdamW's two moments and step count for each trained parameter."""
    tensors = {}
    for name, parameter in trained.items():
        tensors[f"weight.{name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    with _disk_errors():
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / STATE)
        (folder / SCALER).write_text(json.dumps(scaler.state_dict(), sort_keys=True) + "\n")


def load_state(
    trained: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    folder: Path,
) -> None:
    """Take up what `save_state` wrote, to the bit. Raises CheckpointError where it belongs to another recipe."""
    try:
        tensors = load_file(folder / STATE)
        scaling = json.loads((folder / SCALER).read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the checkpoint cannot be read: {error}", "resume from an older one"
        ) from error
    saved = {name.removeprefix("weight.") for name in tensors if name.startswith("weight.")}
    if saved != set(trained):
        raise CheckpointError(
            f"{folder}: the checkpoint holds other weights than this recipe trains",
            "resume with the recipe that the run was started with",
        )
    for name, parameter in trained.items():
        parameter.data.copy_(tensors[f"weight.{name}"])
        moments = {key: tensors.get(f"{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if moments["step"] is not None:
            optimizer.state[parameter] = moments
    if scaling:
        scaler.load_state_dict(scaling)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """safetensors wraps what the operating system said; the callers handle the plain OSError."""
    try:
        yield
    except SafetensorError as error:
        full = "No space left" in str(error) or "os error 28" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _ordered(value: Any) -> Any:
    """PEFT writes sets as lists in whatever order the process has; sorted, the same run writes the same file."""
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    return value
