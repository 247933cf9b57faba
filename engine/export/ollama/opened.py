"""An export for Ollama, as the parity gate asks it: llama.cpp's answers, to prompts of the Modelfile's template."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.data.types import Message
from engine.export.base import Heartbeat
from engine.export.ollama.go_template import render
from engine.export.ollama.values import values_of
from engine.export.ollama.write import template_of
from engine.parity.llama_cpp import LlamaCpp, open_model
from engine.runs.directory.trained_model import TrainedModel


class OllamaModel:
    """A GGUF file in llama.cpp, with the template of the Modelfile in the place of its own. See `Exported`."""

    def __init__(self, model: TrainedModel, base: Path, inner: LlamaCpp) -> None:
        self._inner, self.program = inner, inner.program
        self._template, _ = template_of(model, base)
        self._start = model.spec.tokenizer(base).prefix_ids if self._template.adds_start else []
        self.next_tokens, self.text_ids, self.weights = inner.next_tokens, inner.text_ids, inner.weights

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        values = values_of(messages, self._template.system)
        return [*self._start, *self._inner.text_ids(render(self._template.template, values))]


@contextmanager
def opened(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator[OllamaModel]:
    """The export in a folder."""
    with open_model(model, out, facts, heartbeat) as inner:
        yield OllamaModel(model, model.base_folder(), inner)
