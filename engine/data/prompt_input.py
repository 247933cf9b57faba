"""Prompts for a model from programs and files: messages and tools as in training rows."""

import json
from pathlib import Path

from engine.data.formats.base import RowError
from engine.data.formats.messages import messages_of
from engine.data.formats.tool_calls import tools_of
from engine.data.readers.table import Columns
from engine.data.tokenization.message_style import Tools
from engine.data.types import Prompt
from engine.errors import ConfigError
from engine.storage import regular_files


def prompt_of(asked: Columns) -> Prompt:
    """Parse `messages` and `tools` as in a training row, and a `seed`. Raises ConfigError."""
    try:
        messages = messages_of(asked.get("messages"), "messages")
        return Prompt(messages, int(asked.get("seed", 0)), tuple(tools_of(asked)))
    except RowError as error:
        raise ConfigError(
            f"The messages cannot be used: {error}.",
            'They are a list of {"role": …, "content": …}, as in training rows (docs/data.md).',
        ) from error


def tools_in(path: Path) -> Tools:
    """Read the functions that a JSON file lists. Raises ConfigError."""
    try:
        return tools_of({"tools": json.loads(regular_files.read_text(path))})
    except (OSError, ValueError, RecursionError, RowError) as error:
        raise ConfigError(
            f"{path} holds no tools that can be used: {error}",
            'It is a JSON list of functions, each {"name": …, "description": …, "parameters": …}.',
        ) from error
