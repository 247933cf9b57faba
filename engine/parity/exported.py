"""Exported: a model as people will use it, loaded by the program that they use it with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from engine.data.types import Float32, Int32, Message

Heartbeat = Callable[[], None]
"""Called while a model computes, at least every few seconds; it raises where a person has stopped the proof."""
PLAIN_BASE = "plain_base"
"""Fact of an export that is proved: the folder of its base with weights that transformers reads in fp32."""
LIKELIEST = 500
"""Likeliest tokens of each of two models over which they are compared, where one of them lists no more."""
NO_TOKEN = -1
"""Id that fills up a place with fewer tokens than others."""


@dataclass(frozen=True)
class Probe:
    """Places of one row at which the next token is asked for.

    `tokens` int32 `[n]`; `positions` int32 `[k]`, ascending: the token after `tokens[: position + 1]`. `wanted` int32
    `[k, m]` are tokens that a program which does not give its whole distribution has to give at each place beside its
    own likeliest ones. `cut` is True where the row goes on behind `tokens`.
    """

    tokens: Int32
    positions: Int32
    wanted: Int32 | None = None
    cut: bool = False


@dataclass(frozen=True)
class Distributions:
    """Distributions of the next token at n places, as log-probabilities in nats.

    `logps` float32 `[n, k]`. `ids` int32 `[n, k]` names the tokens where the program gives only some, its
    `LIKELIEST` likeliest ones and those that were wanted, each once and in any order, with `NO_TOKEN` where a place has
    fewer; None where k is the whole vocabulary.
    """

    logps: Float32
    ids: Int32 | None = None

    @staticmethod
    def of_places(places: Sequence[tuple[Int32, Float32]]) -> "Distributions":
        """From the tokens of each place and their log-probabilities."""
        width = max(len(ids) for ids, _ in places)
        ids = np.full((len(places), width), NO_TOKEN, np.int32)
        logps = np.full((len(places), width), -np.inf, np.float32)
        for row, (own, values) in enumerate(places):
            ids[row, : len(own)], logps[row, : len(own)] = own, values
        return Distributions(logps, ids)

    @staticmethod
    def joined(parts: Sequence["Distributions"]) -> "Distributions":
        """Those of several rows after each other."""
        if any(part.ids is None for part in parts):
            return Distributions(np.concatenate([part.logps for part in parts]))
        rows = [row for part in parts for row in zip(cast(Int32, part.ids), part.logps, strict=True)]
        return Distributions.of_places(rows)

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
