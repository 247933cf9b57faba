"""Which chat template it is that a recipe means: the model's, one of ft's, another package's, or a file."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import plugins
from engine.errors import ConfigError, MachineError
from engine.models.local import TEMPLATE, templates

BUILT_IN: Mapping[str, str] = {
    "chatml": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "alpaca": "",
    "mistral": "",
    "gemma": "<end_of_turn>",
    "phi": "<|end|>",
}
"""ft's own templates and the token that ends a turn in each; empty where it is the model's end token.

A template writes it as `turn_end`, which is the model's end token too where the vocabulary lacks that token.
`text_start` is what the tokenizer puts in front of a text, as `<s>`.
"""
FOLDER = Path(__file__).parent / "chat_templates"


def built_in(name: str) -> str:
    """The text of one of ft's templates."""
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


DEFAULT, TOOL_USE = "default", "tool_use"
"""The names, among several templates of a model, of the one for plain chat and of that for rows with tools."""


def template_texts(model_dir: Path, config: Mapping[str, Any], choice: str) -> Mapping[str, str]:
    """Templates by name: the recipe's choice first, then the model's files, then its settings, as transformers."""
    if choice != "auto":
        return {DEFAULT: _chosen(choice)}
    if files := templates(model_dir):
        return {
            DEFAULT if file.name == TEMPLATE else file.stem: file.read_text(encoding="utf-8")
            for file in files
        }
    found = config.get("chat_template")
    if isinstance(found, list):
        found = {item["name"]: item["template"] for item in found}
    return {DEFAULT: found} if isinstance(found, str) else dict(found or {})


def for_other_programs(template: str, told: Mapping[str, str]) -> str:
    """The text of a chat template that says the same where ft does not tell it `told`: its names are set at its top."""
    used = {name: value for name, value in told.items() if re.search(rf"\b{name}\b", template)}
    # the line break is gone with the tag (transformers renders with trim_blocks)
    lines = [
        f"{{% set {name} = {json.dumps(value, ensure_ascii=False)} %}}\n" for name, value in used.items()
    ]
    return "".join([*lines, template])


def _chosen(choice: str) -> str:
    if choice in BUILT_IN:
        return built_in(choice)
    if choice in plugins.installed(plugins.TEMPLATES):
        return _of_package(choice)
    try:
        return Path(choice).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"model.chat_template: {choice} cannot be read: {error}",
            f"It is auto, {', '.join(BUILT_IN)}, or the path of a .jinja file.",
        ) from error


def _of_package(name: str) -> str:
    found = plugins.load(plugins.TEMPLATES, name)
    if not isinstance(found, str):
        raise MachineError(
            f"model.chat_template: {name} names {type(found).__name__}, which is no text of a template",
            "Its package is for another version of ft; use model.chat_template: auto.",
        )
    return found
