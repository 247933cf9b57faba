"""Continuous batching with an MLX model, on mlx-lm's caches of batches. See `engine.backends.base.Decoder`."""

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from engine.backends.alone_decoder import AloneDecoder
from engine.backends.base import Arrival
from engine.backends.sampling import refuse_no_numbers
from engine.data.types import Float32

PREFILL_TOKENS = 2048
"""Tokens of a prompt that are read together."""


def decoder_of(network: Any, slots: int) -> "MlxDecoder | AloneDecoder":
    """A decoder of one batch where mlx-lm's caches of this model can be those of several rows, else row by row."""
    from mlx_lm.models.cache import make_prompt_cache

    if all(hasattr(type(one), "merge") for one in make_prompt_cache(network)):
        return MlxDecoder(network, slots)

    def read(tokens: Sequence[int], cache: Any) -> tuple[Any, Float32]:
        own, logits = _read(network, tokens, cache)
        return own, np.array(logits[0].astype(mx.float32))

    return AloneDecoder(slots, read)


class MlxDecoder:
    """Rows in one batch, right-aligned by mlx-lm's caches. Prompts are read one by one, before they join."""

    def __init__(self, network: Any, slots: int) -> None:
        self.network, self.slots = network, slots
        self._keys: list[int] = []
        self._next_key = 0
        self._cache: list[Any] = []
        """Of each layer, the cache of all rows."""
        self._logits = mx.zeros((0, 0))
        """Of each row's next token, `[rows, vocabulary]`."""

    @property
    def rows(self) -> list[int]:
        return [*self._keys]

    @property
    def reading(self) -> tuple[int, ...]:
        return ()

    def add(self, arrivals: Sequence[Arrival]) -> list[int]:
        assert len(self._keys) + len(arrivals) <= self.slots, "no slot is free"
        read = [_read(self.network, one.prompt, None) for one in arrivals]
        for own_cache, logits in read:
            cache = [type(one).merge([one]) for one in own_cache]
            if self._keys:
                for own, new in zip(self._cache, cache, strict=True):
                    own.extend(new)
                self._logits = mx.concatenate([self._logits, logits])
            else:
                self._cache, self._logits = cache, logits
            self._keys.append(self._next_key)
            self._next_key += 1
        return self._keys[len(self._keys) - len(arrivals) :]

    def logits(self, row: int) -> Float32:
        found: Float32 = np.array(self._logits[self._keys.index(row)].astype(mx.float32))
        return found

    def likeliest(self) -> dict[int, int]:
        refuse_no_numbers(bool(mx.isfinite(self._logits.max(axis=-1)).all()))
        tokens: Any = mx.argmax(self._logits, axis=-1).tolist()
        return dict(zip(self._keys, tokens, strict=True))

    def step(self, tokens: Mapping[int, int]) -> None:
        ids = mx.array([[tokens[key]] for key in self._keys])
        self._logits = self.network(ids, cache=self._cache)[:, -1]
        mx.eval(self._logits)

    def remove(self, row: int) -> None:
        kept = [at for at, key in enumerate(self._keys) if key != row]
        self._keys.remove(row)
        if not kept:
            self._cache = []
            return
        for cache in self._cache:
            cache.filter(kept)
        self._logits = self._logits[mx.array(kept)]


def _read(network: Any, tokens: Sequence[int], cache: list[Any] | None) -> tuple[list[Any], mx.array]:
    """The caches of a row alone with more tokens read, and the logits of what follows, `[1, vocabulary]`."""
    from mlx_lm.models.cache import make_prompt_cache

    cache, ids = cache or make_prompt_cache(network), mx.array([list(tokens)])
    for start in range(0, len(tokens), PREFILL_TOKENS):
        logits = network(ids[:, start : start + PREFILL_TOKENS], cache=cache)[:, -1]
        mx.eval(logits, [one.state for one in cache])
    return cache, logits
