"""Feedback on answers as rows to train: good answers as chat, and pairs of a better and a worse one as preferences.

Both files are JSON lines that `data.train` takes: `answers.jsonl` ({messages}) for supervised fine-tuning, and
`preferences.jsonl` ({prompt, chosen, rejected}) for methods that compare answers.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from engine.data.jsonl import content_of, pair_columns, written
from engine.data.tokenization.message_style import Tools
from engine.data.types import Conversation, Message, Preference
from engine.storage.disk_errors import explaining

ANSWERS, PREFERENCES = "answers.jsonl", "preferences.jsonl"
Rating = Literal["good", "bad"]


@dataclass(frozen=True)
class Exchange:
    """An answer, and all that was said before it."""

    prompt: tuple[Message, ...]
    answer: Message
    tools: Tools = ()

    @property
    def key(self) -> str:
        """Text that is the same for answers to the same prompt."""
        return json.dumps([[written(message) for message in self.prompt], [*self.tools]], default=dict)


class Feedback:
    """Ratings of a chat. Answers to one prompt of which one is good and another bad are a pair."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rated: dict[str, dict[str, tuple[Rating, Exchange]]] = {}

    def rate(self, exchange: Exchange, rating: Rating) -> list[str]:
        """Note a rating, and write the rows that come of it. Returns sentences for the person.

        A bad answer is written only in a pair. Raises MachineError where nothing can be written.
        """
        answers = self._rated.setdefault(exchange.key, {})
        said = _key(exchange.answer)
        if answers.get(said, (None,))[0] == rating:
            return [f"This answer is marked as {rating} already."]
        answers[said] = (rating, exchange)
        lines = []
        if rating == "good":
            lines.append(self._add(ANSWERS, _chat(exchange), "the good answer"))
        for other, before in answers.values():
            if other != rating:
                chosen, rejected = (exchange, before) if rating == "good" else (before, exchange)
                lines.append(self._pair(chosen, rejected.answer))
        return lines or ["Marked as bad. A good answer to the same question, or an edit, makes a pair of it."]

    def edit(self, exchange: Exchange, text: str) -> tuple[Message, list[str]]:
        """Write the pair of an answer and its better text; returns the edited answer, and sentences for the person.

        Reasoning stays as it was; calls of tools are left out. Raises MachineError where nothing can be written.
        """
        thoughts = (exchange.answer.more or {}).get("reasoning_content")
        better = Message("assistant", text, more={"reasoning_content": thoughts} if thoughts else None)
        if _key(better) == _key(exchange.answer):
            return better, ["This is the answer as it was."]
        edited = replace(exchange, answer=better)
        answers = self._rated.setdefault(exchange.key, {})
        answers[_key(better)], answers[_key(exchange.answer)] = ("good", edited), ("bad", exchange)
        return better, [
            self._add(ANSWERS, _chat(edited), "the edited answer"),
            self._pair(edited, exchange.answer),
        ]

    def _pair(self, chosen: Exchange, rejected: Message) -> str:
        one, other = (
            Conversation((*chosen.prompt, answer), "", tuple(chosen.tools))
            for answer in (chosen.answer, rejected)
        )
        return self._add(PREFERENCES, pair_columns(Preference(one, other)), "the pair")

    def _add(self, name: str, row: dict[str, Any], what: str) -> str:
        """Append a row as one line, on a line of its own also behind one that a full disk has cut."""
        path = self.folder / name
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        with explaining(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, 2)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                file.write(line)
        return f"Saved {what} to {path}"


def _chat(exchange: Exchange) -> dict[str, Any]:
    """Row in which the rated answer alone is trained."""
    context = [
        replace(message, trained=False) if message.role == "assistant" else message
        for message in exchange.prompt
    ]
    return content_of(Conversation((*context, exchange.answer), "", tuple(exchange.tools)))


def _key(answer: Message) -> str:
    return json.dumps(written(answer), sort_keys=True)
