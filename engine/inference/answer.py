"""Answers to people: in pieces as they come, and whole, with reasoning and calls of tools apart from the text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.data.types import Message

Finish = Literal["stop", "length", "tool_calls"]
"""Reasons why an answer ends, by their names in OpenAI's API: the model's end or a stop text, the limit of tokens,
calls of tools."""


@dataclass(frozen=True)
class End:
    """End of an answer. Token counts are None where a server does not tell."""

    finish: Finish
    prompt_tokens: int | None = None
    tokens: int | None = None
    """Tokens of the answer, its reasoning included, without the end token."""


@dataclass(frozen=True)
class Piece:
    """Part of an answer. All are empty while a character is unfinished, or a tag or a stop text may begin."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()
    """Calls of tools, whole, as OpenAI writes them, with their arguments as an object."""
    end: End | None = None
    """Set in the last piece."""


@dataclass(frozen=True)
class Answer:
    """A whole answer. `end` is None where it was stopped from outside."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()
    end: End | None = None

    def __add__(self, piece: Piece) -> "Answer":
        return Answer(
            self.text + piece.text,
            self.reasoning + piece.reasoning,
            self.calls + piece.calls,
            piece.end or self.end,
        )

    @property
    def message(self) -> Message:
        """The assistant's turn, as training rows have it."""
        more: dict[str, Any] = {"reasoning_content": self.reasoning.strip()} if self.reasoning.strip() else {}
        more |= {"tool_calls": list(self.calls)} if self.calls else {}
        return Message("assistant", self.text, more=more or None)

    def as_json(self) -> dict[str, Any]:
        """The answer for programs, with the names of OpenAI's API."""
        return {
            "content": self.text,
            "reasoning_content": self.reasoning or None,
            "tool_calls": list(self.calls),
            "finish_reason": self.end.finish if self.end else None,
            "prompt_tokens": self.end.prompt_tokens if self.end else None,
            "completion_tokens": self.end.tokens if self.end else None,
        }


def gathered(pieces: Iterable[Piece]) -> Answer:
    """The whole answer of its pieces."""
    answer = Answer()
    for piece in pieces:
        answer += piece
    return answer
