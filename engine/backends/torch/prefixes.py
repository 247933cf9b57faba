"""Keys and values of prompts that were read lately, for those that begin alike: a system prompt is read once.

They are of one model with one adapter, or none: a decoder that knows several has no such memory.
"""

from collections.abc import Sequence

import numpy as np
from transformers.cache_utils import DynamicCache

LEAST_TOKENS = 16
"""Shorter beginnings are read again, which costs less than copying them."""


class Prefixes:
    """The newest prompts and their caches, up to `most_bytes` of keys and values."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._kept: list[tuple[np.ndarray, DynamicCache]] = []
        """The one used last at the end."""

    @property
    def bytes(self) -> int:
        """Bytes of the keys and values that are kept."""
        return sum(_bytes(cache) for _, cache in self._kept)

    def beginning(self, prompt: Sequence[int]) -> tuple[DynamicCache, int]:
        """A cache of the longest known beginning of `prompt`, and its tokens; the last one at least is left to read."""
        tokens, found = np.asarray(prompt), DynamicCache()
        shared = [_shared(tokens[:-1], kept) for kept, _ in self._kept]
        length = max(shared, default=0)
        if length < LEAST_TOKENS:
            return found, 0
        at = len(shared) - 1 - shared[::-1].index(length)
        self._kept.append(self._kept.pop(at))
        for layer, known in enumerate(self._kept[-1][1].layers):
            found.update(known.keys[:, :, :length], known.values[:, :, :length], layer)
        return found, length

    def keep(self, prompt: Sequence[int], cache: DynamicCache) -> None:
        """Keep the cache of a prompt that has been read, in place of those of its beginnings."""
        tokens = np.asarray(prompt)
        self._kept = [one for one in self._kept if _shared(tokens, one[0]) < len(one[0])]
        self._kept.append((tokens, cache))
        while self._kept and self.bytes > self.most_bytes:
            self._kept.pop(0)


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    """Tokens that both begin with."""
    length = min(len(one), len(other))
    different = one[:length] != other[:length]
    return int(different.argmax()) if different.any() else length


def _bytes(cache: DynamicCache) -> int:
    return sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
