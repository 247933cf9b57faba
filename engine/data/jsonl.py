"""Writing of rows as JSONL, all of a file in one format, so that they read as the same rows again."""

import json
from dataclasses import dataclass, replace
from typing import Any

from engine.data.types import Conversation, Message, Preference, Row, Text

MARK = "augmented"
"""Column that marks a row which a model made."""


@dataclass
class RowLines:
    """Chooses the format of a file by the rows that it has seen, and writes them in it."""

    conversations: bool = False
    prompts: bool = False
    """True if there is plain text with a prompt."""
    texts: bool = False
    """True if there is plain text without one."""

    def see(self, row: Row) -> None:
        """Note the kind of a row that will be written."""
        if isinstance(row, Conversation):
            self.conversations = True
        elif row.prompt:
            self.prompts = True
        else:
            self.texts = True

    def line(self, row: Row) -> str:
        """The row as a line."""
        mark = {MARK: dict(row.augmented)} if row.augmented else {}
        return json.dumps(self.columns(row) | mark, ensure_ascii=False) + "\n"

    def columns(self, row: Row) -> dict[str, Any]:
        """The row's columns, without the mark of one that a model made."""
        if isinstance(row, Conversation):
            body = content_of(row)
            if self.prompts or self.texts:
                return {"prompt": [], "completion": body.pop("messages"), **body}
            return body
        if self.prompts or self.conversations:
            return {"prompt": row.prompt, "completion": row.completion}
        return content_of(row)


def pair_line(pair: Preference) -> str:
    """A pair as a line."""
    mark = {MARK: dict(pair.chosen.augmented)} if pair.chosen.augmented else {}
    return json.dumps(pair_columns(pair) | mark, ensure_ascii=False) + "\n"


def pair_columns(pair: Preference) -> dict[str, Any]:
    """A pair as columns, without the mark of one that a model made: the prompt once, and both answers."""
    chosen, rejected = pair.chosen, pair.rejected
    if isinstance(chosen, Conversation) and isinstance(rejected, Conversation):
        prompt = [written(replace(message, trained=True)) for message in chosen.messages[:-1]]
        last = (replace(one.messages[-1], trained=True) for one in (chosen, rejected))
        answers = {name: [written(answer)] for name, answer in zip(("chosen", "rejected"), last, strict=True)}
        tools = {"tools": [dict(tool) for tool in chosen.tools]} if chosen.tools else {}
        return {"prompt": prompt, **answers, **tools}
    assert isinstance(chosen, Text), "both answers of a pair are of one kind"
    assert isinstance(rejected, Text), "both answers of a pair are of one kind"
    return {"prompt": chosen.prompt, "chosen": chosen.completion, "rejected": rejected.completion}


def content_of(row: Row) -> dict[str, Any]:
    """Content of a row as columns, without the mark of one that a model made."""
    if not isinstance(row, Conversation):
        text = {"prompt": row.prompt, "completion": row.completion}
        return text if row.prompt else {"text": row.completion}
    body: dict[str, Any] = {"messages": [written(message) for message in row.messages]}
    return body | ({"tools": [dict(tool) for tool in row.tools]} if row.tools else {})


def written(message: Message) -> dict[str, Any]:
    """A message as a row has it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    turn |= dict(message.more or {})
    return turn if message.trained else {**turn, "weight": 0}
