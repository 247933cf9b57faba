"""Exported: a model as people will use it, loaded by the program that they use it with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.data.types import Float32, Int32, Message


@dataclass(frozen=True)
class Probe:
    """Places of one row at which the next token is asked for.

    `tokens` int32 `[n]`; `positions` int32 `[k]`, ascending: the token after `tokens[: position + 1]`.
    """

    tokens: Int32
    positions: Int32


@dataclass(frozen=True)
class Distributions:
    """Distributions of the next token at n places, as log-probabilities in nats.

    `logps` float32 `[n, k]`. `ids` int32 `[n, k]` names the tokens where the program gives only its k likeliest ones,
    each once and in any order; None where k is the whole vocabulary.
    """

    logps: Float32
    ids: Int32 | None = None

    @property
    def top(self) -> npt.NDArray[np.int64]:
        """The likeliest token at each place, `[n]`."""
        best: npt.NDArray[np.int64] = self.logps.argmax(axis=1)
        return best if self.ids is None else self.ids[np.arange(len(best)), best].astype(np.int64)


class Exported(Protocol):
    """A loaded export."""

    @property
    def program(self) -> str:
        """The program that has loaded it, with its version."""
        ...

    def next_tokens(self, probes: Sequence[Probe]) -> Distributions:
        """Distributions of the next token at every place of the probes, in their order."""
        ...

    def text_ids(self, text: str) -> list[int]:
        """Tokens of a text as this program encodes it, special tokens in it read as such; nothing put around it."""
        ...

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a conversation and the generation prompt, by the chat template that was exported.

        Raises ValueError where the template refuses the messages.
        """
        ...

    def weights(self) -> Iterator[tuple[str, Float32]]:
        """The tensors by the names of the model they were made of, in fp32, where they can be told; else none."""
        ...


def program(name: str, package: str) -> str:
    """A program with the version of its installed package: `mlx-lm 0.29.1`."""
    return f"{name} {version(package)}"


def log_softmax(logits: Float32) -> Float32:
    """Log-probabilities of logits, along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: Float32 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
