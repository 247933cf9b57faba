"""Values between the server and the batch: what is asked, and the pieces of an answer as they come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from engine.data.types import Sampling

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Asked:
    """One answer that is asked for: the tokens of its prompt, and how it continues."""

    prompt: tuple[int, ...]
    sampling: Sampling
    """Its `max_tokens` are what the model has room for at most, its `seed` is this answer's own."""
    adapter: str | None = None
    stops: frozenset[int] = frozenset()
    """Tokens that end it."""
    top_logprobs: int | None = None
    """Likeliest tokens that are told beside each one; None where no log-probabilities are."""
    bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of tokens."""
    presence: float = 0.0
    """Taken off the logit of each token that the answer has."""
    frequency: float = 0.0
    """Taken off the logit of a token for each time that the answer has it."""
    grammar: str | None = None
    """Of llguidance; the answer is a text of it."""


@dataclass(frozen=True)
class Chosen:
    """A token of an answer, its log-probability in nats, and the likeliest tokens at its place with theirs."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """Text that is settled since the last piece, and the tokens chosen since then.

    Both may be empty: text waits while a character is not finished, or may turn out to be a stop text.
    """

    text: str
    chosen: tuple[Chosen, ...] = ()


@dataclass(frozen=True)
class End:
    """The end of an answer, and how many tokens the model has chosen for it, the end token among them."""

    finish: Finish
    tokens: int


class Listener(Protocol):
    """Whoever asked. Called from the thread that generates; must not block it."""

    def piece(self, piece: Piece) -> None:
        """Take the next piece."""
        ...

    def end(self, end: End) -> None:
        """Take the end: nothing follows."""
        ...

    def failed(self, error: Exception) -> None:
        """Take the error that cut the answer: nothing follows."""
        ...
