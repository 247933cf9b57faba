"""Write a model as a folder that mlx-lm, and what builds on it, loads with nothing of ours."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlx import nn
from mlx_lm.utils import save_config, save_model

from engine.backend_spec import Dtype, Quantization
from engine.backends.files import copy_tokenizer_files
from engine.backends.mlx.filled import Filling, GivenWeights, Heartbeat, open_filled, save_filled
from engine.backends.mlx.model import BITS, DTYPES, is_quantised, open_model, quantise, settle_formats
from engine.errors import MachineError, ModelError

NAMES: Mapping[Dtype, str] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""Number formats as config.json calls them."""


def convert(
    folder: Path, out: Path, quantization: Quantization = "none", dtype: Dtype | None = None
) -> dict[str, Any] | None:
    """Fill the folder `out` with config.json, the weights and the tokenizer; what config.json says as `quantization`.

    Weights that are not quantised get the format `dtype`, or keep that of the file. Raises ModelError where the model
    does not load in MLX or cannot be held in so few bits, MachineError where `out` cannot be written.
    """
    with _loading(folder):
        model, about = open_model(folder)
    _settle(model, about, dtype)
    _quantise(model, about, folder, quantization)
    with _writing(out):
        save_model(out, model, donate_model=True)
        save_config(about, out / "config.json")
        copy_tokenizer_files(folder, out)
    written: dict[str, Any] | None = about.get("quantization")
    return written


def convert_filled(
    folder: Path,
    out: Path,
    quantization: Quantization,
    given: GivenWeights,
    heartbeat: Heartbeat,
    dtype: Dtype | None = None,
) -> dict[str, Any] | None:
    """Do the same with weights that are given by name, the others being the folder's, but write no tokenizer.

    Those of a folder in few bits are packed as the ones that they replace. One file's weights are in memory.
    """
    with _loading(folder):
        model, about = open_filled(folder, given)
    _settle(model, about, dtype)
    _quantise(model, about, folder, quantization)
    filling = Filling(model, about["model_type"], given)
    with _writing(out):
        save_filled(out, model, filling, heartbeat)
        save_config(about, out / "config.json")
    written: dict[str, Any] | None = about.get("quantization")
    return written


def _settle(model: Any, about: dict[str, Any], dtype: Dtype | None) -> None:
    """Hold the weights in a format, and say so in the config; scales of packed ones are in it too."""
    if dtype is not None:
        settle_formats(model, DTYPES[dtype])
        about["torch_dtype" if "torch_dtype" in about else "dtype"] = NAMES[dtype]


def _quantise(model: Any, about: dict[str, Any], folder: Path, quantization: Quantization) -> None:
    """Hold the model in few bits where that is asked for, and note it in its config. Raises ModelError."""
    if quantization == "none":
        return
    if is_quantised(model):
        raise ModelError(
            f"{folder}: the weights are held in few bits already.",
            "Convert the unquantised model, or leave --quantization out.",
        )
    quantise(model, BITS[quantization])
    if not is_quantised(model):
        raise ModelError(
            f"{folder}: no layer of this model can be held in {BITS[quantization]} bits by MLX.",
            "Convert it without --quantization.",
        )
    # both names: transformers and the hub look for the second
    about["quantization"] = about["quantization_config"] = _settings(model)


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """Give a model that does not load the hint for one that is only converted."""
    try:
        yield
    except ModelError as error:
        raise ModelError(
            error.message, f"Check that the folder is complete: ft models show {folder}"
        ) from error


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turn a disk that says no into a MachineError; MLX tells of it by a RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"The model cannot be written to {out}: {error}",
            "Check that the disk has space and may be written.",
        ) from error


def _settings(model: Any) -> dict[str, Any]:
    """Quantisation of the layers: what most have in common, then the layers that differ, by their path."""
    found = {
        path: {"group_size": layer.group_size, "bits": layer.bits, "mode": layer.mode}
        for path, layer in model.named_modules()
        if isinstance(layer, nn.QuantizedLinear)
    }
    ((common, _),) = Counter(tuple(each.items()) for each in found.values()).most_common(1)
    shared = dict(common)
    return shared | {path: each for path, each in found.items() if each != shared}
