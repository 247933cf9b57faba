"""Export of an adapter to GGUF: a LoRA that llama.cpp loads on the base's own GGUF file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ConfigError, ModelError
from engine.export.base import Heartbeat
from engine.export.gguf.architectures import Architecture, known
from engine.export.gguf.file import PlannedTensor, write_file
from engine.export.gguf.plan import HEADER_BYTES
from engine.export.gguf.settings import Settings
from engine.export.gguf.tensors import NameMap, Source, permuted, rotated_heads
from engine.export.gguf.write import general_keys, name_of, require_room
from engine.merging.adapter import LoraAdapter, read_lora
from engine.models import adapter_files
from engine.models.saved_adapter import EMBEDDINGS, VOCABULARY
from engine.models.tensors import Float32
from engine.models.weight_headers import read_header
from engine.runs.directory.trained_model import TrainedModel

QUANTIZATIONS = ("f16", "f32")
MERGE = "Export the merged model instead: ft export --format gguf."
REFUSED: Mapping[str, str] = {
    "magnitude": "DoRA's magnitudes",
    "B.bias": "a bias of the update (lora_bias)",
    "weight": "weights that were trained whole",
    "bias": "a trained bias",
    "rows": "rows of added tokens",
    "embedding_A": "an update of the embedding",
    "embedding_B": "an update of the embedding",
}
"""Roles of an adapter's tensors that llama.cpp's LoRA does not have: it leaves them out in silence, or fails."""


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write `NAME-lora-QUANTIZATION.gguf`; the option `quantization` is f16 (default) or f32.

    The facts are the file's name, its quantisation, bits a weight, the alpha in the file, and no fallbacks. Raises
    ConfigError for another option, ModelError where llama.cpp's LoRA cannot be equal to the adapter.
    """
    quantization = _quantization(options)
    if model.adapter is None:
        raise ModelError(
            "Export to gguf-adapter writes an adapter, and this is a whole model.", "Use --format gguf."
        )
    folder = model.base_folder()
    architecture, settings = known(Settings.read(folder))
    adapter = read_lora(model.adapter, settings.kind)
    heartbeat()
    alpha, found = lora_sources(adapter, settings, architecture)
    tensors = [PlannedTensor(source, quantization.upper()) for source in found]
    name = name_of(model, folder)
    require_room(out, sum(tensor.bytes for tensor in tensors))
    metadata = {
        **general_keys(name, model, folder),
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": alpha,
    }
    file = f"{name}-lora-{quantization}.gguf"
    write_file(out / file, architecture.name, metadata, tensors, heartbeat)
    bits = 16.0 if quantization == "f16" else 32.0
    return {
        "file": file,
        "quantization": quantization,
        "bits_per_weight": bits,
        "fallbacks": {},
        "alpha": alpha,
    }


def size_of(model: TrainedModel, options: Mapping[str, Any]) -> int:
    """Bytes that the adapter's file takes at most: no more than its own tensors in fp32."""
    if model.adapter is None:
        return 0
    settings = adapter_files.read_settings(model.adapter)
    return HEADER_BYTES + 4 * sum(
        info.size for info in read_header(adapter_files.weights_file(model.adapter, settings))
    )


def lora_sources(
    adapter: LoraAdapter, settings: Settings, architecture: Architecture
) -> tuple[float, Sequence[Source]]:
    """The file's one alpha, and the tensors `lora_a` `[rank, inputs]` and `lora_b` `[outputs, rank]` of each layer.

    llama.cpp scales every update by alpha / rank. Where that is not a layer's own scale (rsLoRA, another rank or alpha
    of some layers), its B is multiplied by what is missing. Raises ModelError for what it has no place for.
    """
    lookup = NameMap(architecture, settings)
    alpha: float | None = None
    found: list[Source] = []
    for path, roles in adapter.layers.items():
        _refuse(adapter, path, roles)
        update = adapter.factors(path)
        assert update is not None  # _refuse saw both halves
        right, rank = np.ascontiguousarray(update.right), update.right.shape[0]
        alpha = alpha or update.scale * rank
        left = update.left * np.float32(update.scale * rank / alpha)
        heads = rotated_heads(f"{path}.weight", settings, architecture)
        name = lookup[f"{path}.weight"]
        found.append(_kept(f"{name}.lora_a", right))
        found.append(_kept(f"{name}.lora_b", permuted(left, heads) if heads else np.ascontiguousarray(left)))
    if alpha is None:
        raise ModelError(f"{adapter.folder} changes no layer.", "Copy the whole folder of the adapter again.")
    return float(alpha), found


def _kept(name: str, values: Float32) -> Source:
    return Source(name, values.shape, lambda: [values])


def _refuse(adapter: LoraAdapter, path: str, roles: Mapping[str, str]) -> None:
    """Raise ModelError where a layer's tensors are not a plain update of a matrix that llama.cpp adapts."""
    last = path.rpartition(".")[2]
    if last in EMBEDDINGS or last in VOCABULARY:
        raise ModelError(
            f"{adapter.folder} changes {last}, which llama.cpp's LoRA does not do as it was trained.", MERGE
        )
    if ".experts" in path:
        raise ModelError(
            f"{adapter.folder} changes {path}: llama.cpp's LoRA has no place for a mixture's experts.", MERGE
        )
    if other := [REFUSED[role] for role in roles if role in REFUSED]:
        raise ModelError(
            f"{adapter.folder} has {other[0]} for {path}, which llama.cpp's LoRA has no place for.", MERGE
        )
    if roles.keys() != {"A", "B"}:
        raise adapter.damaged(path)


def _quantization(options: Mapping[str, Any]) -> str:
    if unknown := options.keys() - {"quantization"}:
        raise ConfigError(
            f"Export to gguf-adapter has no option {min(unknown)}.", "Its only option is quantization."
        )
    name = str(options.get("quantization", "f16")).lower()
    if name not in QUANTIZATIONS:
        raise ConfigError(
            f"A GGUF adapter has no quantization {name!r}.", f"It is one of {', '.join(QUANTIZATIONS)}."
        )
    return name
