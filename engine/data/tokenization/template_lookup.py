"""Lookup of a recipe's chat template: the model's, one of ft's, another package's, or a file."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import plugins
from engine.errors import ConfigError, MachineError, ModelError
from engine.models import starter
from engine.models.local import TEMPLATE, templates
from engine.storage.regular_files import read_text

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


LENT = "chatml"
DEFAULT, TOOL_USE = "default", "tool_use"
"""The names, among several templates of a model, of the one for plain chat and of that for rows with tools."""


def template_texts(model_dir: Path, config: Mapping[str, Any], choice: str) -> Mapping[str, str]:
    """Templates by name: the recipe's choice first, then the model's files, then its settings, as transformers.

    The starter's own is ChatML without tools: its rows with tools are shown by ft's ChatML, whose turns are the same.
    Raises `ConfigError` for a choice that cannot be read, `ModelError` where the model's own are no templates.
    """
    if choice != "auto":
        return {DEFAULT: _chosen(choice)}
    own = own_texts(model_dir, config)
    return {**own, TOOL_USE: built_in(LENT)} if starter.is_starter(model_dir) else own


def is_lent(texts: Mapping[str, str]) -> bool:
    """Return True if the template for rows with tools is ft's, beside the model's own for all others."""
    return texts.get(TOOL_USE) == built_in(LENT)


def own_texts(model_dir: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """A model's own templates by name; `config` is its tokenizer_config.json. Raises `ModelError`."""
    if files := templates(model_dir):
        return {DEFAULT if file.name == TEMPLATE else file.stem: _text(file) for file in files}
    found = config.get("chat_template") or {}
    if isinstance(found, list):
        named = [item for item in found if isinstance(item, dict)]
        found = (
            {item.get("name"): item.get("template") for item in named} if len(named) == len(found) else None
        )
    texts = {DEFAULT: found} if isinstance(found, str) else found
    if not isinstance(texts, dict) or not all(
        isinstance(text, str) for pair in texts.items() for text in pair
    ):
        raise ModelError(
            f"{model_dir / 'tokenizer_config.json'}: chat_template is neither a template nor a list of named ones.",
            f"Name another in model.chat_template, as {next(iter(BUILT_IN))}.",
        )
    return texts


def _text(file: Path) -> str:
    """A model's own template. Raises `ModelError`."""
    try:
        return read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{file}: cannot be read: {error}",
            "Copy it again, or name another in model.chat_template, as chatml.",
        ) from error


def with_defaults(source: str, variables: Mapping[str, Any]) -> str:
    """A template that other programs render as ft has trained it: its variables have the values of the recipe where
    nobody gives others.

    The line that sets them is the first; the line break behind it is no part of what is rendered, as every program that
    renders chat templates removes the one behind a block.
    """
    if not variables:
        return source
    lines = [
        f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}"
        for name, value in variables.items()
    ]
    return "".join(lines) + "\n" + source


def _literal(value: Any) -> str:
    """A value as Jinja writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def for_other_programs(template: str, given: Mapping[str, str]) -> str:
    """Text of a chat template for other programs: the variables `given` by ft are set at its top."""
    used = {name: value for name, value in given.items() if re.search(rf"\b{name}\b", template)}
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
        return read_text(Path(choice).expanduser())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"model.chat_template: {choice} cannot be read: {error}",
            f"It is auto, {', '.join(BUILT_IN)}, or the path of a .jinja file.",
        ) from error


def _of_package(name: str) -> str:
    found = plugins.load(plugins.TEMPLATES, name)
    if not isinstance(found, str):
        raise MachineError(
            f"model.chat_template: {name} names {type(found).__name__}, not the text of a template",
            "Its package is for another version of ft; use model.chat_template: auto.",
        )
    return found
