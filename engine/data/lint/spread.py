"""Checks of all rows together: outlying lengths, one answer to everything, a foreign script."""

from collections import Counter

import numpy as np
import numpy.typing as npt

LONGEST_LABEL = 40
"""Characters up to which an answer may be the name of a class."""
MOST_LABELS = 50
"""Different answers up to which they are taken for classes."""
FEWEST_ROWS = 50
"""Rows from which their spread says anything."""
ONE_SIDED = 0.8
"""Share of the most frequent answer from which the others are hardly learned."""
OWN_SCRIPT = 0.95
"""Share of rows in one script from which the others stand out."""
FENCES = 3.0
"""Interquartile ranges beyond the upper quartile, in the logarithm: what Tukey calls far out."""
FOLD = 4.0
"""An extreme length is at least so many times the median: rows of nearly one length have no outliers."""


class Labels:
    """Short answers that come again and again: a classification."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._rows = 0
        self._is_none = False

    def add(self, answer: str) -> None:
        """One row's answer."""
        self._rows += 1
        if len(answer) > LONGEST_LABEL or len(self._counts) > MOST_LABELS:
            self._is_none = True
        if not self._is_none:
            self._counts[answer.strip()] += 1

    def one_sided(self) -> tuple[str, float] | None:
        """The answer that most rows have and its share, where the rows are a classification that has one."""
        if self._is_none or self._rows < FEWEST_ROWS or len(self._counts) > MOST_LABELS:
            return None
        label, count = self._counts.most_common(1)[0]
        return (label, count / self._rows) if count >= ONE_SIDED * self._rows else None


def extremes(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The places of lengths that are far beyond all others (Tukey 1977, in the logarithm), longest first."""
    if len(lengths) < FEWEST_ROWS:
        return np.empty(0, dtype=np.int64)
    logs = np.log(np.maximum(lengths, 1))
    low, middle, high = np.quantile(logs, (0.25, 0.5, 0.75))
    fence = max(high + FENCES * (high - low), middle + np.log(FOLD))
    places = np.flatnonzero(logs > fence)
    return places[np.argsort(-lengths[places], kind="stable")]


def foreign(scripts: Counter[str]) -> tuple[str, set[str]] | None:
    """The script that nearly all rows have, and those of the others; None where the rows are of several anyway."""
    total = sum(scripts.values())
    if total < FEWEST_ROWS:
        return None
    own, count = scripts.most_common(1)[0]
    others = set(scripts) - {own}
    return (own, others) if others and count >= OWN_SCRIPT * total else None
