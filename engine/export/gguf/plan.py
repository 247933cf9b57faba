"""Plan of a GGUF file: its tensors and the type of each, and so its size, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.export.gguf.architectures import Architecture, known
from engine.export.gguf.file import PlannedTensor
from engine.export.gguf.mixtures import Chosen, Shape, chosen, require
from engine.export.gguf.settings import Settings
from engine.export.gguf.tensors import EMBEDDING, sources
from engine.merging.base import base_for
from engine.merging.merged import merged_tensors
from engine.models.tensors import RowTensors
from engine.runs.directory.trained_model import TrainedModel

HEADER_BYTES = 16 << 20
"""Room for keys and the list of tensors: tokens and merges of the largest vocabularies."""


@dataclass(frozen=True)
class PlannedFile:
    """A GGUF file before it is written: what it takes, and why."""

    name: str
    """Of the model: the file is `NAME-QUANTIZATION.gguf`."""
    quantization: str
    tensors: Sequence[PlannedTensor]
    chosen: Chosen
    architecture: Architecture
    settings: Settings

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.quantization}.gguf"

    @property
    def rows(self) -> int:
        """Rows of the embedding: tokens that the file has."""
        return next(tensor.source.shape[0] for tensor in self.tensors if tensor.source.name == EMBEDDING)

    @property
    def bytes(self) -> int:
        """Bytes of its tensors, each of its own type."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        weights = sum(prod(tensor.source.shape) for tensor in self.tensors)
        return 8 * self.bytes / weights


def planned(
    tensors: RowTensors, folder: Path, quantization: str, name: str, untied: bool = False
) -> PlannedFile:
    """The file that these weights become; `folder` has the model's config.json, and `untied` weights have an output
    layer of their own, whatever it says.

    Raises ModelError where llama.cpp does not compute such a model.
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
    return PlannedFile(name, quantization, tensors_, types, architecture, settings)


def size_of(model: TrainedModel, options: Mapping[str, Any]) -> int:
    """Bytes of the file that a model becomes, by the option `quantization`. Raises as `planned`, and ConfigError."""
    folder = base_for(model).folder if model.adapter else model.base_folder()
    tensors = merged_tensors(model, folder)
    file = planned(
        tensors, folder, require(str(options.get("quantization") or "f16")), "model", tensors.untied
    )
    return file.bytes + HEADER_BYTES
