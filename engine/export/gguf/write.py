"""Export to GGUF: a model in one file that llama.cpp, Ollama and LM Studio read."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, MachineError
from engine.export.base import Heartbeat
from engine.export.gguf.file import write_file
from engine.export.gguf.llama_quantize import quantise_file, quantiser_program
from engine.export.gguf.mixtures import FILE_TYPES, MIXTURES, is_k, require
from engine.export.gguf.plan import HEADER_BYTES, PlannedFile, planned
from engine.export.gguf.quantise import require_libgguf
from engine.export.gguf.tokenizer_keys import tokenizer_keys
from engine.merging.base import MergeBase, base_for
from engine.merging.dequantised import quantization_of
from engine.merging.merged import merged_tensors
from engine.models.card import card_of
from engine.runs.directory.trained_model import TrainedModel
from engine.units import size

QUANTIZATION_VERSION = 2
"""`general.quantization_version`: GGML_QNT_VERSION of all current files."""


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write `NAME-QUANTIZATION.gguf`.

    The weights are the fp32 sum of base and adapter, on the unquantised base where a quantised one was trained on and
    that is on this disk. The option is `quantization`, one of `mixtures.QUANTIZATIONS` (default f16). The facts are the
    file's name, its quantisation, bits a weight, how many tensors got another type because of their widths, and
    `notes`. Raises ConfigError for other options, ModelError where llama.cpp does not compute such a model,
    MachineError where the disk has no room or what quantises is missing.
    """
    if unknown := options.keys() - {"quantization"}:
        raise ConfigError(f"Export to gguf has no option {min(unknown)}.", "Its option is quantization.")
    quantization = require(str(options.get("quantization", "f16")))
    base = base_of(model)
    folder = base.folder
    tensors = merged_tensors(model, folder)
    file = planned(tensors, folder, quantization, name_of(model, folder), tensors.untied)
    program = quantiser_program() if quantization in MIXTURES else None
    if program is None and any(is_k(tensor.type) for tensor in file.tensors):
        require_libgguf()
    path = out / file.file_name
    if program is None:
        require_room(out, file.bytes)
        write_planned(file, path, model, folder, heartbeat)
    else:
        whole = planned(tensors, folder, "f32", file.name, tensors.untied)
        require_room(out, whole.bytes + file.bytes)
        source = out / whole.file_name
        write_planned(whole, source, model, folder, heartbeat)
        quantise_file(program, source, path, quantization, heartbeat)
        source.unlink()
    return {
        "file": file.file_name,
        "quantization": quantization,
        "bits_per_weight": round(file.bits_per_weight, 2),
        "fallbacks": dict(file.chosen.fallbacks),
        "notes": [base.note] if base.note else [],
    }


def base_of(model: TrainedModel) -> MergeBase:
    """The folder whose weights are written, with an adapter added to them; the note says which one of a quantised base.

    Raises ModelError where the base changed since it was trained on, or is not there.
    """
    if model.adapter is None:
        return MergeBase(model.base_folder(), "")
    found = base_for(model)
    plain = found.folder == model.base_folder() and quantization_of(found.folder) is None
    return MergeBase(found.folder, "" if plain else found.note)


def write_planned(
    file: PlannedFile,
    path: Path,
    model: TrainedModel,
    folder: Path,
    heartbeat: Heartbeat,
) -> None:
    """Write a planned file with the tokenizer and the chat template of the model; `folder` is its base's.

    Raises ModelError where llama.cpp has no such tokenizer, OSError where the disk says no.
    """
    metadata = {
        **general_keys(file.name, model, folder),
        "general.type": "model",
        "general.file_type": FILE_TYPES[file.quantization],
        "general.quantization_version": QUANTIZATION_VERSION,
        **file.architecture.metadata(file.settings),
        **tokenizer_keys(model, folder, file.rows),
    }
    heartbeat()
    write_file(path, file.architecture.name, metadata, file.tensors, heartbeat)


def general_keys(name: str, model: TrainedModel, folder: Path) -> dict[str, Any]:
    """The keys by which people know the model: its name, its base and the base's licence."""
    keys: dict[str, Any] = {"general.name": name}
    if licence := card_of(folder).licence:
        keys["general.license"] = licence
    if model.run or model.adapter:
        keys |= {"general.base_model.count": 1, "general.base_model.0.name": Path(model.base).name}
    return keys


def name_of(model: TrainedModel, folder: Path) -> str:
    """A name for files of the model: its run's, else its folder's."""
    found = model.run or model.adapter or folder
    return found.name or "model"


def require_room(folder: Path, needed: int) -> None:
    """Raise MachineError where the disk has less room than a file takes."""
    free = shutil.disk_usage(folder).free
    if needed + HEADER_BYTES > free:
        raise MachineError(
            f"The file takes {size(needed)}, and the disk of {folder.parent} has {size(free)} left.",
            "Free some space, choose another folder with --out, or a smaller quantization.",
        )
