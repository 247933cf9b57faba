"""Limits of a model on the tokens of a row: their number by its positions, their ids by the rows of its embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import ConfigError, ModelError
from engine.models.shape import TokenRoom

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.data.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Limit:
    """Most tokens of a row: as the recipe says, or the model's positions if those are fewer."""

    tokens: int
    of_model: bool = False
    context: int | None = None
    """Tokens that the model was made for, where longer rows are not cut there."""

    @property
    def name(self) -> str:
        """The key or model property that sets it, with the number of tokens."""
        return (
            f"the model's {self.tokens} positions" if self.of_model else f"model.max_seq_length {self.tokens}"
        )

    @classmethod
    def of(cls, wanted: int, room: TokenRoom) -> "Limit":
        """The limit for rows of at most `wanted` tokens."""
        if room.positions is not None:
            return cls(min(wanted, room.positions), of_model=room.positions < wanted)
        return cls(wanted, context=room.context)


def check_ids(ids: Sequence[int], tokenizer: "Tokenizer", room: TokenRoom, where: str) -> None:
    """Raise ModelError where a token of the text at `where` has no row in the model's embedding."""
    if room.ids is None or max(ids, default=0) < room.ids:
        return
    strange = next((id_ for id_ in ids if id_ >= room.ids and id_ not in room.added), None)
    if strange is None:
        return
    text = tokenizer.added.get(strange) or tokenizer.decode([strange], skip_special=False)
    raise ModelError(
        f"{where}: the token {text} has the id {strange}, and the model's embedding has {room.ids} rows, for ids up to "
        f"{room.ids - 1}",
        f"To add a row for it and train that: model.add_tokens: [{text}]. Or take the tokenizer that belongs to the "
        "weights.",
    )


def answer_room(prompt: Sequence[int], tokenizer: "Tokenizer", room: TokenRoom, where: str) -> int | None:
    """Most tokens of an answer to this prompt; None where the model sets no bound.

    Raises ModelError for ids that the model does not have, ConfigError where the prompt leaves no room.
    """
    check_ids(prompt, tokenizer, room, where)
    if room.positions is None:
        return None
    if len(prompt) >= room.positions:
        raise ConfigError(
            f"{where}: it has {len(prompt)} tokens, and the model has {room.positions} positions for it and the answer",
            "Shorten it, or take a model with a longer context.",
        )
    return room.positions - len(prompt)


def check_samples(config: "TrainConfig", tokenizer: "Tokenizer", room: TokenRoom) -> None:
    """Raise as `answer_room` does where the model cannot take a prompt of `evaluation.samples`."""
    from engine.data.types import Message

    for number, prompt in enumerate(config.evaluation.samples):
        ids = tokenizer.prompt_ids([Message("user", prompt)])
        answer_room(ids, tokenizer, room, f"evaluation.samples[{number}]")
