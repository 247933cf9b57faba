"""Conversations in a file of JSON lines, each {messages, tools} as `data.train` takes it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.data.formats.base import RowError
from engine.data.formats.messages import messages_of
from engine.data.formats.tool_calls import tools_of
from engine.data.jsonl import content_of
from engine.data.tokenization.message_style import Tools
from engine.data.types import Conversation, Message
from engine.errors import ConfigError
from engine.storage import regular_files
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining


class ConversationFile:
    """File to which a conversation is written, as its last line, or as the line that it was read from or written to."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.line: int | None = None
        """Number of the conversation's line, from 0; None where it has none yet."""

    def open(self) -> tuple[tuple[Message, ...], Tools]:
        """The messages and tools of the last conversation. Raises ConfigError where there is none."""
        lines = self._lines()
        if not lines:
            raise ConfigError(f"{self.path} has no conversation.", "Name a file that /save or --save wrote.")
        where = f"{self.path}:{len(lines)}"
        try:
            row: Any = json.loads(lines[-1])
            if not isinstance(row, dict):
                raise RowError("the line is not an object")
            found = messages_of(row.get("messages"), "messages"), tools_of(row)
        except (ValueError, RecursionError, RowError) as error:
            raise ConfigError(
                f"{where} is not a conversation: {error}.",
                'It is a line of JSON, as {"messages": [{"role": "user", "content": "…"}, …]}.',
            ) from error
        self.line = len(lines) - 1
        return found

    def save(self, messages: Sequence[Message], tools: Tools) -> None:
        """Write the conversation; the other lines stay as they are. Raises ConfigError, and MachineError as the disk
        does."""
        lines = self._lines() if self.path.exists() else []
        line = json.dumps(content_of(Conversation(tuple(messages), "", tuple(tools))), ensure_ascii=False)
        if self.line is None or self.line >= len(lines):
            self.line = len(lines)
            lines.append(line)
        lines[self.line] = line
        with explaining(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, "".join(f"{each}\n" for each in lines))

    def _lines(self) -> list[str]:
        try:
            text = regular_files.read_text(self.path)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.path} cannot be read: {getattr(error, 'strerror', None) or error}.",
                "Name a file of JSON lines.",
            ) from error
        return [line for line in text.split("\n") if line.strip()]
