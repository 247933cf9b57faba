"""The sampler of every backend: the same seed draws from the same distribution, with the same noise, on all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.data.types import Float32

MIN_P = 0.05
"""Share of the likeliest token's probability below which a token is not drawn."""


@dataclass(frozen=True)
class Sampler:
    """Sampling settings, with a seed for each prompt, so that an answer does not depend on its neighbours.

    The largest of logit / temperature + Gumbel noise is a draw from the softmax (Gumbel 1954; "the Gumbel-max trick").
    Tokens less likely than `MIN_P` times the likeliest are left out (min-p, arXiv:2407.01082): unlike top-p, this needs
    no sorting of the vocabulary at every token. Backends do the arithmetic in their own arrays.
    """

    temperature: float
    seeds: Sequence[int]

    def apart(self) -> "list[Sampler]":
        """A sampler for each prompt alone."""
        return [Sampler(self.temperature, [seed]) for seed in self.seeds]

    def noises(self) -> "list[Noise]":
        """A source of noise for each prompt, from the start."""
        return [Noise(seed) for seed in self.seeds]


class Noise:
    """Gumbel noise for the tokens of one answer, drawn on the host, so that it is the same for every device."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def draw(self, vocabulary: int) -> Float32:
        """Noise for the next token, `[vocabulary]`."""
        uniform = self._random.random(vocabulary, dtype=np.float32)
        noise: Float32 = -np.log(-np.log(np.maximum(uniform, np.finfo(np.float32).tiny)))
        return noise
