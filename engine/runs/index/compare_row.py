"""Row of a comparison of two runs."""

from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["", "left", "right"]
Interval = tuple[float, float]
NOT_TOLD_APART = "not told apart"
"""A row of which neither value is called better, because the intervals of both overlap."""


@dataclass(frozen=True)
class Row:
    """One thing that both runs have, or one of them; None where it has not."""

    key: str
    left: Any
    right: Any
    better: Better = ""
    """The better of two results; empty where neither is, or where that cannot be said."""
    metric: str = ""
    """Name in `engine.metrics`, where the values are of one."""
    left_interval: Interval | None = None
    """Confidence interval, 95 %, of a value of a metric that has one."""
    right_interval: Interval | None = None
    overlap: bool = False
    """True if one value would be better, and the intervals overlap: then the rows do not tell the two apart."""

    @property
    def same(self) -> bool:
        return bool(self.left == self.right) or repr(self.left) == repr(self.right)  # no NaN equals another


def better_of(left: Any, right: Any, direction: Literal["higher", "lower"] | None) -> Better:
    """The better of two values in a direction; empty where they are no numbers, or neither is better."""
    numbers = all(isinstance(value, int | float) and value == value for value in (left, right))
    if not direction or not numbers or left == right:
        return ""
    return "left" if (left < right) == (direction == "lower") else "right"


def overlapping(left: Interval | None, right: Interval | None) -> bool:
    """True if two intervals have a point in common; a value without one has nothing to overlap with."""
    return left is not None and right is not None and left[0] <= right[1] and right[0] <= left[1]
