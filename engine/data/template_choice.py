"""Which chat template it is that a recipe means: the model's, one of ft's, another package's, or a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import plugins
from engine.errors import ConfigError, MachineError

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


def template_text(model_dir: Path, config: Mapping[str, Any], choice: str) -> str | None:
    """The template's text: the recipe's choice first, then the model's file, then its settings."""
    if choice in BUILT_IN:
        return built_in(choice)
    if choice in plugins.installed(plugins.TEMPLATES):
        return _of_package(choice)
    if choice != "auto":
        try:
            return Path(choice).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"model.chat_template: {choice} cannot be read: {error}",
                f"It is auto, {', '.join(BUILT_IN)}, or the path of a .jinja file.",
            ) from error
    file = model_dir / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several templates by name; `default` is the one for plain chat
        named = {item["name"]: item["template"] for item in template}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _of_package(name: str) -> str:
    found = plugins.load(plugins.TEMPLATES, name)
    if not isinstance(found, str):
        raise MachineError(
            f"model.chat_template: {name} names {type(found).__name__}, which is no text of a template",
            "Its package is for another version of ft; use model.chat_template: auto.",
        )
    return found
