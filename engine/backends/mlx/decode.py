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
        read = [self._read(one.prompt) for one in arrivals]
        for cache, logits in read:
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
        if not bool(mx.isfinite(self._logits.max(axis=-1)).all()):
            raise ModelError(
                "The model's output is not a number, so no token can be chosen.",
                "Weights that hold NaN or inf answer so, and fp16 where a model needs bf16 or fp32.",
            )
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

    def _read(self, prompt: Sequence[int]) -> tuple[list[Any], mx.array]:
        """The caches of a batch of this row alone, and the logits of what follows, `[1, vocabulary]`."""
        from mlx_lm.models.cache import make_prompt_cache

        cache = make_prompt_cache(self.network)
        if not all(hasattr(type(one), "merge") for one in cache):
            raise ModelError(
                f"{type(self.network).__name__}: mlx-lm cannot decode several of its answers together.",
                "Answer one at a time: ft generate, ft chat.",
            )
        ids = mx.array([list(prompt)])
        for start in range(0, len(prompt), PREFILL_TOKENS):
            logits = self.network(ids[:, start : start + PREFILL_TOKENS], cache=cache)[:, -1]
            mx.eval(logits, [one.state for one in cache])
        return [type(one).merge([one]) for one in cache], logits
