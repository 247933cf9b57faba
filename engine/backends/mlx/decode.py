"""Continuous batching with an MLX model, on mlx-lm's caches of batches. See `engine.backends.base.Decoder`."""

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from engine.backends.base import Arrival
from engine.data.types import Float32
from engine.errors import ModelError

PREFILL_TOKENS = 2048
"""Tokens of a prompt that are read together."""


def decoder_of(network: Any, slots: int) -> "MlxDecoder | MlxAloneDecoder":
    """A decoder of one batch where mlx-lm's caches of this model can be those of several rows, else row by row."""
    from mlx_lm.models.cache import make_prompt_cache

    merges = all(hasattr(type(one), "merge") for one in make_prompt_cache(network))
    return MlxDecoder(network, slots) if merges else MlxAloneDecoder(network, slots)


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
        read = [_read(self.network, one.prompt) for one in arrivals]
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
        return dict(zip(self._keys, _likeliest(self._logits), strict=True))

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


class MlxAloneDecoder:
    """Rows one by one, each with the model's own cache."""

    def __init__(self, network: Any, slots: int) -> None:
        self.network, self.slots = network, slots
        self._rows: dict[int, tuple[list[Any], mx.array]] = {}
        """Cache and logits `[1, vocabulary]` of each."""
        self._next_key = 0

    @property
    def rows(self) -> list[int]:
        return [*self._rows]

    @property
    def reading(self) -> tuple[int, ...]:
        return ()

    def add(self, arrivals: Sequence[Arrival]) -> list[int]:
        read = [_read(self.network, one.prompt) for one in arrivals]
        keys = [*range(self._next_key, self._next_key + len(read))]
        self._rows.update(zip(keys, read, strict=True))
        self._next_key += len(read)
        return keys

    def logits(self, row: int) -> Float32:
        found: Float32 = np.array(self._rows[row][1][0].astype(mx.float32))
        return found

    def likeliest(self) -> dict[int, int]:
        return {key: _likeliest(logits)[0] for key, (_, logits) in self._rows.items()}

    def step(self, tokens: Mapping[int, int]) -> None:
        for key, (cache, _) in self._rows.items():
            logits = self.network(mx.array([[tokens[key]]]), cache=cache)[:, -1]
            mx.eval(logits)
            self._rows[key] = cache, logits

    def remove(self, row: int) -> None:
        del self._rows[row]


def _read(network: Any, prompt: Sequence[int]) -> tuple[list[Any], mx.array]:
    """The caches of a row alone, and the logits of what follows, `[1, vocabulary]`."""
    from mlx_lm.models.cache import make_prompt_cache

    cache, ids = make_prompt_cache(network), mx.array([list(prompt)])
    for start in range(0, len(prompt), PREFILL_TOKENS):
        logits = network(ids[:, start : start + PREFILL_TOKENS], cache=cache)[:, -1]
        mx.eval(logits, [one.state for one in cache])
    return cache, logits


def _likeliest(logits: mx.array) -> list[int]:
    """The likeliest token of each row. Raises ModelError where logits are no numbers."""
    if not bool(mx.isfinite(logits.max(axis=-1)).all()):
        raise ModelError(
            "The model's output is not a number, so no token can be chosen.",
            "Weights that hold NaN or inf answer so, and fp16 where a model needs bf16 or fp32.",
        )
    found: Any = mx.argmax(logits, axis=-1).tolist()
    return [int(token) for token in found]
