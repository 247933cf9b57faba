"""Rows of a batch that grow together: their keys, and the logits of their next tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.backends.sampling import refuse_no_numbers
from engine.data.types import Float32


class Rows:
    """Keys in the order of the batch, and logits `[rows, vocabulary]`."""

    def __init__(self) -> None:
        self.keys: list[int] = []
        self._next_key = 0
        self._logits = torch.empty(0)

    def new_keys(self, count: int) -> list[int]:
        """Keys that no row had."""
        first, self._next_key = self._next_key, self._next_key + count
        return [*range(first, self._next_key)]

    def take(self, new: Sequence[int], logits: Tensor) -> None:
        """Take in the logits of all rows, the new ones at the end."""
        self.keys += new
        self._logits = logits

    def join(self, new: Sequence[int], logits: Tensor) -> None:
        """Take up rows behind those that are there."""
        self.take(new, torch.cat([self._logits, logits]) if self.keys else logits)

    def logits_of(self, key: int) -> Float32:
        """Logits of a row, `[vocabulary]`."""
        found: Float32 = self._logits[self.keys.index(key)].float().cpu().numpy()
        return found

    def likeliest(self) -> dict[int, int]:
        """The likeliest token of each row. Raises ModelError where logits are no numbers."""
        if not self.keys:
            return {}
        largest, tokens = self._logits.max(-1)
        refuse_no_numbers(bool(largest.isfinite().all()))
        return dict(zip(self.keys, tokens.tolist(), strict=True))

    def remove(self, key: int) -> int:
        """Drop a row; the last takes its place, which is returned."""
        at = self.keys.index(key)
        self.keys[at] = self.keys[-1]
        self.keys.pop()
        self._logits[at] = self._logits[-1]
        self._logits = self._logits[:-1]
        return at
