"""A LoRA in GGUF as llama.cpp runs it: on its base, which is written as a GGUF for the length of the proof."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.export.base import QUANTIZATION, Heartbeat
from engine.export.registry import exporter_named
from engine.parity import llama_cpp
from engine.runs.directory.trained_model import TrainedModel


@contextmanager
def open_adapter(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator[llama_cpp.LlamaCpp]:
    """The adapter in the file that the facts name, on its base in fp32: so that it alone is measured."""
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".proof-") as folder:
        base = replace(model, adapter=None, step=None)
        written = exporter_named("gguf").export(base, Path(folder), {QUANTIZATION: "f32"}, heartbeat)
        file, adapter = Path(folder) / str(written["file"]), out / str(facts["file"])
        with llama_cpp.loaded(file, model.base_folder(), adapter, heartbeat) as found:
            yield found
