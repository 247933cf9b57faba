"""Facts from a model's folder: shape, number format, licence, chat template. Reads no weights."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.models import starter
from engine.models.local import headers, read_config
from engine.models.prequantized import Packed
from engine.models.shape import ModelShape
from engine.models.sizing import shape_of
from engine.storage.regular_files import read_bytes

FORMATS = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F8_E4M3": "fp8", "F8_E5M2": "fp8", "I8": "int8"}
"""Number formats by their names in safetensors headers."""
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
"""Number formats by their names in config.json."""
TEMPLATES = {
    "<|im_start|>": "chatml",
    "<|start_header_id|>": "llama3",
    "<start_of_turn>": "gemma",
    "[INST]": "mistral",
    "<|assistant|>": "phi",
}
"""Marks of well-known chat templates."""
STARTER_LICENCE = "apache-2.0"
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE")
FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A model for people. `licence` and `template` are None where the folder does not tell."""

    shape: ModelShape
    held: str
    """Number format of the weights, or how they are quantised: `bf16`, `4-bit bitsandbytes`, `4-bit GPTQ`."""
    licence: str | None
    template: str | None


def card_of(folder: Path) -> Card:
    """Describe a model's folder. Raises ModelError where its config or the heads of its weights cannot be read."""
    return Card(shape_of(folder), _held(folder), _licence(folder), _template(folder))


def card_without_weights(folder: Path, licence: str | None) -> Card:
    """Describe a model of which only config and template are here. Raises ModelError where they do not tell."""
    config = read_config(folder)
    text = config.get("text_config") or {}
    dtype = str(config.get("dtype") or config.get("torch_dtype") or text.get("torch_dtype") or "float32")
    held = _held_in_config(config) or DTYPES.get(dtype.removeprefix("torch."), dtype)
    return Card(shape_of(folder), held, licence, _template(folder))


def _held_in_config(config: dict[str, Any]) -> str | None:
    """How the weights are quantised, as config.json says; None where they are not."""
    if packed := Packed.of(config):
        return str(packed)
    quantised = config.get("quantization_config")
    return _quantised(quantised) if isinstance(quantised, dict) else None


def _held(folder: Path) -> str:
    if quantised := _held_in_config(read_config(folder)):
        return quantised
    sizes: Counter[str] = Counter()
    for header in headers(folder).values():
        for tensor in header:
            sizes[tensor.dtype] += tensor.size
    most = sizes.most_common(1)[0][0] if sizes else "?"
    return FORMATS.get(most, most.lower())


def _quantised(about: dict[str, Any]) -> str:
    method = str(about.get("quant_method", "quantised"))
    bits = about.get("bits") or (4 if about.get("load_in_4bit") else 8 if about.get("load_in_8bit") else None)
    return f"{bits}-bit {method}" if bits else method


def _licence(folder: Path) -> str | None:
    """From the model card's front matter, else the first line of its licence file."""
    if (folder / starter.SOURCE).is_file() and folder.name == starter.NAME:
        return STARTER_LICENCE
    matter = FRONT_MATTER.search(_text(folder / "README.md"))
    found = re.search(r"^license:\s*(\S.*)$", matter[1], re.MULTILINE) if matter else None
    if found:
        return found[1].strip("'\" ")
    for name in LICENCE_FILES:
        lines = [line.strip(" #*") for line in _text(folder / name).splitlines() if line.strip()]
        if lines:
            return lines[0][:60]
    return None


def _template(folder: Path) -> str | None:
    text = _text(folder / "chat_template.jinja")
    if not text and (folder / "tokenizer_config.json").is_file():
        text = _text(folder / "tokenizer_config.json")
        if "chat_template" not in text:
            return None
    if not text:
        return None
    return next((name for sign, name in TEMPLATES.items() if sign in text), "its own")


def _text(path: Path) -> str:
    """A file's text as far as a licence or template needs it; empty where there is none."""
    try:
        return read_bytes(path, 1 << 20).decode("utf-8", "replace")
    except OSError:  # a folder may come without it
        return ""
