"""Modelfile: what Ollama makes a model of (https://github.com/ollama/ollama/blob/main/docs/modelfile.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.tokenization.tokenizer import Tokenizer
from engine.export.ollama.derive import OllamaTemplate
from engine.models.card import LICENCE_FILES, card_of
from engine.models.local import read_object
from engine.storage.regular_files import read_text

NAME = "Modelfile"
PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "max_new_tokens": "num_predict",
}
"""Settings of generation_config.json, and Ollama's names for them."""
SHORTEST_OPENER = 3
"""Letters that a text needs to end an answer: fewer would occur within one."""


@dataclass(frozen=True)
class Modelfile:
    """Content of a Modelfile."""

    gguf: str
    template: str
    system: str
    stops: Sequence[str]
    parameters: Mapping[str, float]
    licence: str | None

    @staticmethod
    def of(gguf: str, template: OllamaTemplate, tokenizer: Tokenizer, base: Path) -> "Modelfile":
        """The one for a GGUF file beside it, with what the folder of the base says of generation and licence."""
        return Modelfile(
            gguf,
            template.template,
            template.system,
            stops_of(template, tokenizer),
            parameters_of(base),
            _licence(base),
        )

    def text(self) -> str:
        """The file's text."""
        lines = [f"FROM ./{self.gguf}", f"TEMPLATE {_quoted(self.template)}"]
        if self.system:
            lines.append(f"SYSTEM {_quoted(self.system)}")
        lines += [f"PARAMETER stop {_quoted(stop)}" for stop in self.stops]
        lines += [f"PARAMETER {name} {value:g}" for name, value in self.parameters.items()]
        if self.licence:
            lines.append(f"LICENSE {_quoted(self.licence)}")
        return "\n".join(lines) + "\n"


def stops_of(template: OllamaTemplate, tokenizer: Tokenizer) -> list[str]:
    """Texts at which an answer ends: the tokens that end a turn, and what would open the next question."""
    ends = [tokenizer.added[id_] for id_ in sorted(tokenizer.stop_ids) if id_ in tokenizer.added]
    return list(dict.fromkeys([*ends, *_opener(template, tokenizer, ends)]))


def _opener(template: OllamaTemplate, tokenizer: Tokenizer, ends: Sequence[str]) -> list[str]:
    text = template.texts.question.lstrip()
    while end := next((end for end in ends if text.startswith(end)), ""):
        text = text.removeprefix(end).lstrip()
    tokens = [token for token in tokenizer.added.values() if text.startswith(token)]
    if tokens:
        return [max(tokens, key=len)]
    line = text.strip().partition("\n")[0].strip()
    return [line] if len(line) >= SHORTEST_OPENER else []


def parameters_of(base: Path) -> dict[str, float]:
    """Ollama's parameters from a model's generation_config.json; greedy answers where it does not sample."""
    path = base / "generation_config.json"
    settings: Mapping[str, Any] = read_object(path) if path.is_file() else {}
    found = {
        ours: settings[theirs] for theirs, ours in PARAMETERS.items() if settings.get(theirs) is not None
    }
    numbers = {
        name: value
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return numbers | {"temperature": 0} if settings.get("do_sample") is False else numbers


def _licence(base: Path) -> str | None:
    """The text of the base's licence, else its name."""
    for name in LICENCE_FILES:
        if (base / name).is_file():
            return read_text(base / name, "replace")
    return card_of(base).licence


def _quoted(text: str) -> str:
    return (
        f'"{text}"'
        if '"' not in text and "\n" not in text
        else f'"""{text.replace(3 * chr(34), 3 * chr(39))}"""'
    )
