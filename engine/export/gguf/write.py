"""Export to GGUF: a model in one file that llama.cpp, Ollama and LM Studio read."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.data.tokenization.tokenizer import Tokenizer, write_extended
from engine.errors import ConfigError, MachineError, ModelError
from engine.export.base import Heartbeat
from engine.export.gguf.architectures import Architecture, known
from engine.export.gguf.file import PlannedTensor, write_file
from engine.export.gguf.mixtures import FILE_TYPES, Chosen, Shape, chosen, is_k, require
from engine.export.gguf.quantise import require_libgguf
from engine.export.gguf.settings import Settings
from engine.export.gguf.tensors import EMBEDDING, sources
from engine.export.gguf.vocabulary import Vocabulary, vocabulary
from engine.merging.merged import merged_tensors
from engine.models.local import read_object
from engine.models.tensors import RowTensors
from engine.runs.directory.trained_model import TrainedModel
from engine.units import size

QUANTIZATION_VERSION = 2
"""`general.quantization_version`: GGML_QNT_VERSION of all current files."""
HEADER_BYTES = 16 << 20
"""Room for keys and the list of tensors: tokens and merges of the largest vocabularies."""


@dataclass(frozen=True)
class PlannedFile:
    """A GGUF file before it is written: what it takes, and why."""

    name: str
    quantization: str
    tensors: Sequence[PlannedTensor]
    chosen: Chosen
    architecture: Architecture
    settings: Settings

    @property
    def bytes(self) -> int:
        """Bytes of its tensors, each of its own type."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        weights = sum(_product(tensor.source.shape) for tensor in self.tensors)
        return 8 * self.bytes / weights


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write `NAME-QUANTIZATION.gguf`; the option `quantization` is one of `mixtures.QUANTIZATIONS` (default f16).

    The weights are the fp32 sum of base and adapter. The facts are the file's name, its quantisation, bits a weight,
    and how many tensors got another type because of their widths. Raises ConfigError for another option, ModelError
    where llama.cpp does not compute such a model, MachineError where the disk has no room.
    """
    if unknown := options.keys() - {"quantization", "workers"}:
        raise ConfigError(
            f"Export to gguf has no option {min(unknown)}.", "Its options are quantization and workers."
        )
    folder = model.base_folder()
    tensors = merged_tensors(model, folder)
    quantization = require(options.get("quantization", "f16"))
    file = planned(tensors, folder, quantization, name_of(model, folder), untied=tensors.untied)
    if any(is_k(tensor.type) for tensor in file.tensors):
        require_libgguf()
    require_room(out, file.bytes)
    heartbeat()
    write_planned(file, out / file.name, model, folder, heartbeat, options.get("workers"))
    return {
        "file": file.name,
        "quantization": file.quantization,
        "bits_per_weight": round(file.bits_per_weight, 2),
        "fallbacks": dict(file.chosen.fallbacks),
    }


def planned(
    tensors: RowTensors, folder: Path, quantization: str, name: str, untied: bool = False
) -> PlannedFile:
    """The file that these weights become; `folder` has the model's config.json, and `untied` weights have an output
    layer of their own, whatever it says.

    Raises ModelError as `write`.
    """
    architecture, settings = known(Settings.read(folder))
    found = sources(tensors, settings, architecture, settings.tied and not untied)
    shapes = {source.name: source.shape for source in found}
    if EMBEDDING not in shapes:
        raise ModelError(f"{folder} has no embedding among its weights.", "Copy the whole model again.")
    model = Shape(
        settings.layers, settings.heads // settings.kv_heads, settings.experts, "output.weight" not in shapes
    )
    types = chosen(quantization, shapes, model, find_spec("libgguf") is not None)
    tensors_ = [PlannedTensor(source, types.types[source.name]) for source in found]
    return PlannedFile(f"{name}-{quantization}.gguf", quantization, tensors_, types, architecture, settings)


def write_planned(
    file: PlannedFile,
    path: Path,
    model: TrainedModel,
    folder: Path,
    heartbeat: Heartbeat,
    workers: int | None = None,
) -> None:
    """Write a planned file with the tokenizer and the chat template of the model. Raises as `write`."""
    rows = next(tensor.source.shape[0] for tensor in file.tensors if tensor.source.name == EMBEDDING)
    metadata = {
        "general.type": "model",
        "general.name": file.name.removesuffix(f"-{file.quantization}.gguf"),
        "general.file_type": FILE_TYPES[file.quantization],
        "general.quantization_version": QUANTIZATION_VERSION,
        **file.architecture.metadata(file.settings),
        **tokenizer_metadata(model, folder, rows),
    }
    write_file(path, file.architecture.name, metadata, file.tensors, heartbeat, workers)


def tokenizer_metadata(model: TrainedModel, folder: Path, rows: int) -> dict[str, Any]:
    """The keys after `tokenizer.`: vocabulary, tokens with a meaning, and the chat template trained with."""
    tokenizer = model.spec.tokenizer(folder)
    with tempfile.TemporaryDirectory() as name:
        write_extended(folder, model.spec.add_tokens, Path(name))
        found = vocabulary(json.loads((Path(name) / "tokenizer.json").read_bytes()), rows)
    keys: dict[str, Any] = {
        "model": found.model,
        "pre": found.pre,
        "tokens": found.tokens,
        "token_type": found.kinds,
        **({"merges": found.merges} if found.merges else {"scores": found.scores}),
        **found.more,
        **_special(tokenizer, folder, found),
    }
    metadata = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    templates = {name: text for name, text in tokenizer.delivered.items() if text}
    if "default" in templates:
        metadata["tokenizer.chat_template"] = templates.pop("default")
    if templates:
        metadata["tokenizer.chat_templates"] = list(templates)
    return metadata | {f"tokenizer.chat_template.{name}": text for name, text in templates.items()}


def _special(tokenizer: Tokenizer, folder: Path, found: Vocabulary) -> dict[str, Any]:
    """Ids of the tokens with a meaning, and those that stand around every text."""
    ids = {text: id_ for id_, text in enumerate(found.tokens)}
    path = folder / "tokenizer_config.json"
    config = read_object(path) if path.is_file() else {}
    keys: dict[str, Any] = {}
    for ours, theirs in {"bos": "bos", "unk": "unknown", "pad": "padding"}.items():
        value = config.get(f"{ours}_token")
        text = value.get("content") if isinstance(value, dict) else value
        if text in ids:
            keys[f"{theirs}_token_id"] = ids[text]
    keys["eos_token_id"] = tokenizer.eos_id
    turn_ends = sorted(tokenizer.stop_ids - {tokenizer.eos_id})
    if turn_ends:
        keys["eot_token_id"] = turn_ends[0]
    if tokenizer.prefix_ids:
        keys["bos_token_id"] = tokenizer.prefix_ids[0]
    return keys | {
        "add_bos_token": bool(tokenizer.prefix_ids),
        "add_eos_token": bool(tokenizer.suffix_ids),
    }


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


def _product(shape: Sequence[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total
