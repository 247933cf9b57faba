"""Export for Ollama: the GGUF file, and the Modelfile that `ollama create` takes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, FtError, ModelError
from engine.export.base import QUANTIZATION, Heartbeat
from engine.export.gguf import write as gguf
from engine.export.ollama.derive import OllamaTemplate, derive
from engine.export.ollama.modelfile import NAME, Modelfile
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

DEFAULT = "q8_0"
"""Quantisation where none is asked for: half of 16 bits, with answers that differ in little."""


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write the GGUF file and the Modelfile; the options are those of `gguf`.

    The facts are those of `gguf`, `same` (conversations that its template renders as training did), and `notes` about
    others. Raises ModelError where the chat template cannot be written in Go's language.
    """
    if unknown := options.keys() - {QUANTIZATION}:
        raise ConfigError(f"Export to ollama has no option {min(unknown)}.", f"Its option is {QUANTIZATION}.")
    base = model.base_folder()
    template, notes = template_of(model, base)
    heartbeat()
    facts = gguf.write(model, out, {QUANTIZATION: DEFAULT, **options}, heartbeat)
    if not template.adds_start:
        leave_start_out(out / str(facts["file"]))
    tokenizer = model.spec.tokenizer(base)
    (out / NAME).write_text(
        Modelfile.of(str(facts["file"]), template, tokenizer, base).text(), encoding="utf-8"
    )
    return {**facts, "same": template.same, "notes": [*facts["notes"], *notes]}


def template_of(model: TrainedModel, base: Path) -> tuple[OllamaTemplate, list[str]]:
    """The template for Ollama, and sentences about what it does not do. A day that it writes is that of training."""
    day = Run(model.run).begun() if model.run is not None else date.today()
    found = derive(model.spec.tokenizer(base, day))
    notes = list(found.notes)
    try:
        other = derive(model.spec.tokenizer(base, day.replace(year=day.year - 1, day=1)))
    except FtError:
        other = replace(found, template="")
    if other.template != found.template:
        notes.append(
            f"The chat template writes the day, and Ollama's does not know it: it is {day} in all prompts."
        )
    return found, notes


def leave_start_out(path: Path) -> None:
    """Let what reads a GGUF file put no token around a text: training puts none around what a chat template writes.

    Raises ModelError where the file cannot be changed.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path, "r+")
        for name in ("tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"):
            if name in reader.fields:
                field = reader.fields[name]
                field.parts[field.data[0]][0] = False
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be changed: {error}", "Export it again.") from error
