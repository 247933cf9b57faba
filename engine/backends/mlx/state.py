"""The exact state to resume from, and whole models in the layout of transformers."""

import errno
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from safetensors.numpy import load_file, save_file

from engine.backends.files import (
    STATE,
    check_finite,
    check_trained,
    checkpoint_errors,
    disk_errors,
    write_config,
    write_tokenizer,
)
from engine.backends.mlx import families
from engine.backends.mlx.adapter_init import Values
from engine.models.local import dtype_of, read_config

MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq"}
"""AdamW's moments: MLX's names, and those in the file."""
HELD = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
SCALE = "loss_scale"
TAKEN = "beside."


def save_model(
    trained: Mapping[str, mx.array],
    about: Mapping[str, Any],
    source: Path,
    folder: Path,
    add_tokens: Sequence[str] = (),
) -> None:
    """Write all weights in the number format of `source`, with its config; the same weights give the same bytes.

    `about` is the model's config as it was trained, with rows for `add_tokens`, which are in the tokenizer beside it.
    """
    kind, dtype = about["model_type"], dtype_of(source)
    held = HELD[dtype]
    tensors: dict[str, mx.array] = {}
    for path, value in trained.items():
        if families.is_transposed(kind, path.removesuffix(".weight")) and value.ndim == 2:
            value = value.T
        tensors[families.transformers_name(kind, path)] = mx.contiguous(value.astype(held))
    folder.mkdir(parents=True, exist_ok=True)
    try:  # numpy, which safetensors writes from, has no bf16
        mx.save_safetensors(str(folder / "model.safetensors"), tensors, {"format": "pt"})
    except RuntimeError as error:
        full = shutil.disk_usage(folder).free < sum(value.nbytes for value in tensors.values())
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
    grown = {"vocab_size": about["vocab_size"]} if add_tokens else {}
    write_config(folder, read_config(source) | grown, dtype)
    write_tokenizer(source, add_tokens, folder)


@dataclass(frozen=True)
class State:
    """State from which training resumes exactly."""

    trained: dict[str, mx.array]
    """fp32 weights by path."""
    moments: dict[str, Any]
    """AdamW's two moments of each, and its step count."""
    scale: list[float]
    """See `scaler.LossScale.state`."""
    taken: Values
    """Factors that the adapter's start took out of the weights, as of `adapter_init.flat`."""


def save_state(state: State, folder: Path) -> None:
    """Write it; the same state gives the same bytes."""
    trained, moments = state.trained, state.moments
    tensors = {"step": np.array(moments["step"]), SCALE: np.array(state.scale)}
    tensors |= {f"{TAKEN}{name}": value for name, value in state.taken.items()}
    for path, value in trained.items():
        tensors[f"weight.{path}"] = np.ascontiguousarray(value)
        for own, name in MOMENTS.items():
            tensors[f"{name}.{path}"] = np.ascontiguousarray(moments[path][own])
    with disk_errors():
        save_file(tensors, folder / STATE)


def load_state(trained: Mapping[str, mx.array], taken: Values, folder: Path) -> State:
    """Read what `save_state` wrote, to the bit; `trained` and `taken` are this recipe's.

    Raises CheckpointError where it belongs to another recipe.
    """
    with checkpoint_errors(folder):
        check_finite(folder)
        tensors = load_file(folder / STATE)
    check_trained(tensors, trained, folder)
    check_trained(tensors, taken, folder, TAKEN)
    weights = {path: mx.array(tensors[f"weight.{path}"]) for path in trained}
    moments: dict[str, Any] = {
        path: {own: mx.array(tensors[f"{name}.{path}"]) for own, name in MOMENTS.items()} for path in trained
    }
    moments["step"] = mx.array(tensors["step"])
    return State(
        weights, moments, tensors[SCALE].tolist(), {name: tensors[f"{TAKEN}{name}"] for name in taken}
    )
