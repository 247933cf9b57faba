"""A decoder of any model, row by row: for those whose rows cannot be, or would not stay apart, in one batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.backends.base import Arrival
from engine.backends.sampling import likeliest_of
from engine.data.types import Float32

Read = Callable[[Sequence[int], Any], tuple[Any, Float32]]
"""Reads tokens after those of a cache (or None); returns the cache, and logits of what follows, `[vocabulary]`."""


class AloneDecoder:
    """Each row with a cache of its own. See `engine.backends.base.Decoder`."""

    def __init__(self, slots: int, read: Read) -> None:
        self.slots, self._read = slots, read
        self._rows: dict[int, tuple[Any, Float32]] = {}
        """Cache and logits of each."""
        self._next_key = 0

    @property
    def rows(self) -> list[int]:
        return [*self._rows]

    @property
    def reading(self) -> tuple[int, ...]:
        return ()

    def add(self, arrivals: Sequence[Arrival]) -> list[int]:
        assert len(self._rows) + len(arrivals) <= self.slots, "no slot is free"
        read = [self._read(one.prompt, None) for one in arrivals]
        keys = [*range(self._next_key, self._next_key + len(read))]
        self._rows.update(zip(keys, read, strict=True))
        self._next_key += len(read)
        return keys

    def logits(self, row: int) -> Float32:
        return self._rows[row][1]

    def likeliest(self) -> dict[int, int]:
        return {key: likeliest_of(logits) for key, (_, logits) in self._rows.items()}

    def step(self, tokens: Mapping[int, int]) -> None:
        for key, (cache, _) in self._rows.items():
            self._rows[key] = self._read([tokens[key]], cache)

    def remove(self, row: int) -> None:
        del self._rows[row]
