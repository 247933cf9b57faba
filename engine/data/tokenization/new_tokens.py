"""Tokens that a recipe adds (`model.add_tokens`): their ids, and what their texts were split into before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the app's process knows `NewToken` from a backend's spec, and tokenises nothing
    import tokenizers


@dataclass(frozen=True)
class NewToken:
    """A text that has become one token."""

    text: str
    id: int
    pieces: tuple[int, ...]
    """Ids that the text was split into before. A token that was there already has its own id alone."""

    @property
    def was_there(self) -> bool:
        """True if the tokenizer had it as one token already; then its row, if it has one, stays as it is."""
        return self.pieces == (self.id,)


def extend(backend: "tokenizers.Tokenizer", texts: Sequence[str]) -> tuple[NewToken, ...]:
    """Add the texts to a tokenizer, in their order, behind the ids that it has.

    They are ordinary text: found everywhere, and shown when they are decoded. Tokens that are there stay as they are.
    """
    import tokenizers

    pieces = [tuple(backend.encode(text, add_special_tokens=False).ids) for text in texts]
    there = {token.content for token in backend.get_added_tokens_decoder().values()}
    backend.add_tokens(
        [tokenizers.AddedToken(text, normalized=False, special=False) for text in texts if text not in there]
    )
    ids = backend.get_vocab(with_added_tokens=True)
    return tuple(NewToken(text, ids[text], before) for text, before in zip(texts, pieces, strict=True))
