"""Write a model as a folder that mlx-lm, and what builds on it, loads with nothing of ours."""

from collections import Counter
from pathlib import Path
from typing import Any

from mlx import nn
from mlx_lm.utils import save_config, save_model

from engine.backend_spec import Quantization
from engine.backends.files import copy_tokenizer_files
from engine.backends.mlx.model import BITS, is_quantised, open_model, quantise
from engine.errors import MachineError, ModelError


def convert(folder: Path, out: Path, quantization: Quantization = "none") -> dict[str, Any] | None:
    """Fill the folder `out` with config.json, the weights and the tokenizer; what config.json says as `quantization`.

    Weights that are not quantised keep the format of the file. Raises ModelError where the model does not load
    in MLX or cannot be held in so few bits, MachineError where `out` cannot be written.
    """
    try:
        model, about = open_model(folder)
    except ModelError as error:
        raise ModelError(
            error.message, f"Check that the folder is complete: ft models show {folder}"
        ) from error
    if quantization != "none":
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
    try:
        save_model(out, model, donate_model=True)
        save_config(about, out / "config.json")
        copy_tokenizer_files(folder, out)
    except (OSError, RuntimeError) as error:  # MLX tells of a disk that says no by a RuntimeError
        raise MachineError(
            f"The model cannot be written to {out}: {error}",
            "Check that the disk has space and may be written.",
        ) from error
    written: dict[str, Any] | None = about.get("quantization")
    return written


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
