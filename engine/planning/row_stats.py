"""Facts of the training rows that a plan depends on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.data.types import Examples
from engine.errors import DataError

Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowStats:
    """Lengths of the training examples, or of a sample of them."""

    lengths: Lengths
    """Tokens of each example that was counted, int64 `[count]`."""
    trained_share: float
    """Share of their tokens that the loss counts."""
    examples: int
    """Examples there are in all."""

    @staticmethod
    def of(examples: Examples, total: int | None = None) -> "RowStats":
        """Statistics of all examples, or of a sample of `total` rows."""
        lengths = examples.lengths.astype(np.int64)
        tokens = int(lengths.sum())
        share = examples.trained_tokens / tokens if tokens else 0.0
        return RowStats(lengths, share, len(lengths) if total is None else total)

    @staticmethod
    def uniform(count: int, tokens: int, trained_share: float) -> "RowStats":
        """Statistics of `count` examples of the same length."""
        return RowStats(np.full(count, tokens, np.int64), trained_share, count)

    @property
    def sampled(self) -> bool:
        """Only a sample was counted."""
        return self.examples > len(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest example. Raises DataError where there is none."""
        self.require()
        return int(self.lengths.max())

    @property
    def mean_square(self) -> float:
        """Sum of lengths² over the sum of lengths: the length that attention sees, on average over tokens."""
        return float(np.square(self.lengths).sum() / self.lengths.sum())

    @property
    def tokens(self) -> float:
        """Tokens of all examples, estimated where only a sample was counted."""
        return float(self.lengths.mean()) * self.examples

    def require(self) -> None:
        """Raise DataError where there are no examples."""
        if len(self.lengths) == 0 or self.examples == 0:
            raise DataError("There are no training examples to plan for.", "Check data.train in the recipe.")

    def cut(self, longest: int) -> "RowStats":
        """The same examples, none of them longer than `longest` tokens."""
        return RowStats(np.minimum(self.lengths, longest), self.trained_share, self.examples)
