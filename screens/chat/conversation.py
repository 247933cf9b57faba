"""A conversation with two models: the same questions, each model's own answers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.data.feedback import Exchange, Rating
from engine.data.tokenization.message_style import Tools
from engine.data.types import Message
from engine.inference.answer import Answer as Parts
from engine.inference.answer import Piece

Side = Literal["trained", "base"]
SIDES: tuple[Side, ...] = ("trained", "base")
State = Literal["asked", "answering", "done", "stopped", "failed"]
OVER = ("done", "stopped", "failed")


@dataclass(frozen=True)
class Answer:
    """An answer so far. `seconds` count from the question to the last token."""

    text: str = ""
    state: State = "asked"
    tokens: int = 0
    first_s: float = 0.0
    """Seconds until the first token."""
    seconds: float = 0.0
    problem: str = ""
    reasoning: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()
    """Calls of tools, as OpenAI writes them."""
    cut: bool = False
    """True if the limit of tokens ended it."""
    rating: Rating | None = None

    @property
    def message(self) -> Message:
        """The assistant's turn."""
        return Parts(self.text, self.reasoning, self.calls).message

    @property
    def is_said(self) -> bool:
        """True if there is something that a model can be shown as its own words."""
        return bool(self.text or self.calls)

    @property
    def tokens_per_s(self) -> float | None:
        """Decoding speed after the first token; None where there are too few tokens."""
        gone = self.seconds - self.first_s
        return (self.tokens - 1) / gone if self.tokens > 1 and gone > 0 else None


def grown(pieces: Iterable[Piece], clock: Callable[[], float]) -> Iterator[Answer]:
    """An answer after each of its pieces. `clock` tells seconds; it starts when the first piece is asked for."""
    start, answer = clock(), Answer(state="answering")
    for piece in pieces:
        gone = clock() - start
        answer = replace(
            answer,
            text=answer.text + piece.text,
            reasoning=answer.reasoning + piece.reasoning,
            calls=answer.calls + piece.calls,
            tokens=answer.tokens + (piece.end is None),
            first_s=answer.first_s or gone,
            seconds=gone,
        )
        if piece.end is not None:
            tokens = answer.tokens if piece.end.tokens is None else piece.end.tokens
            answer = replace(answer, tokens=tokens, cut=piece.end.finish == "length")
        yield answer


@dataclass
class Turn:
    """A question, or the result of a tool that was called, and the answers that there are."""

    question: str
    role: Literal["user", "tool"] = "user"
    answers: dict[Side, Answer] = field(default_factory=dict)
    attempt: int = 0
    """Times that it was asked again, each with another seed."""


@dataclass
class Conversation:
    """The turns so far."""

    turns: list[Turn] = field(default_factory=list)

    def next_job(self, sides: Sequence[Side]) -> tuple[int, Side] | None:
        """The first question that a side in view has not answered."""
        for number, turn in enumerate(self.turns):
            for side in sides:
                if side not in turn.answers:
                    return number, side
        return None

    def messages(self, number: int, side: Side) -> list[Message]:
        """Messages for a side to answer a turn: all turns before it, with this side's own answers."""
        said: list[Message] = []
        for turn in self.turns[:number]:
            answer = turn.answers.get(side, Answer())
            if answer.is_said:
                said += [Message(turn.role, turn.question), answer.message]
        asked = self.turns[number]
        return [*said, Message(asked.role, asked.question)]

    def exchange(self, side: Side, tools: Tools) -> Exchange | None:
        """The last answer of a side that is finished, with all that was said before; None where there is none."""
        number = len(self.turns) - 1
        answer = self.turns[number].answers.get(side) if self.turns else None
        if answer is None or answer.state not in OVER or not answer.is_said:
            return None
        return Exchange(tuple(self.messages(number, side)), answer.message, tools)

    def stop(self) -> None:
        """Leave every question as it is answered now."""
        for turn in self.turns:
            for side in SIDES:
                answer = turn.answers.get(side)
                if answer is None or answer.state not in OVER:
                    turn.answers[side] = replace(answer or Answer(), state="stopped")

    def last_answer(self, sides: Sequence[Side]) -> str:
        """The newest words of the first of the sides that has any; empty where none has."""
        for turn in reversed(self.turns):
            for side in sides:
                if text := turn.answers.get(side, Answer()).text:
                    return text
        return ""
