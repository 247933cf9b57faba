"""Confidence intervals and paired tests of metrics, from statistics of rows: seeded, the same each time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.metrics.base import Statistics

RESAMPLES = 2000
"""Draws of a bootstrap, and exchanges of a paired test."""
LEVEL = 0.95
CHUNK = 2_000_000
"""Most numbers in an array of draws."""
Floats = npt.NDArray[np.float64]
Total = Callable[[Statistics], float]
RowStatistics = Sequence[Statistics | None]


@dataclass(frozen=True)
class Difference:
    """A metric's value of one model less another's on the same rows.

    `low` and `high` bound it at 95 % (percentile bootstrap over pairs; Efron 1979). `p` is the share of random
    exchanges of a row's two results after which the difference is as large (paired permutation test; Pitman 1937).
    """

    value: float
    low: float
    high: float
    p: float
    rows: int
    """Pairs that it is computed from."""


def interval(rows: RowStatistics, total: Total, seed: int) -> tuple[float, float] | None:
    """Bounds of a metric's value at 95 %, by a bootstrap over its rows; None for fewer than two rows."""
    found = [row for row in rows if row is not None]
    if len(found) < 2:
        return None
    values = _totals(_resampled(np.array(found, dtype=np.float64), seed), total)
    return _bounds(values)


def difference(ours: RowStatistics, theirs: RowStatistics, total: Total, seed: int) -> Difference | None:
    """The difference of two models on the rows that both have; None for fewer than two."""
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if len(pairs) < 2:
        return None
    a, b = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    value = _value(a, total) - _value(b, total)
    both = _resampled(np.concatenate([a, b], axis=1), seed)
    width = a.shape[1]
    drawn = _totals(both[:, :width], total) - _totals(both[:, width:], total)
    low, high = _bounds(drawn)
    return Difference(value, low, high, _paired_p(a, b, total, value, seed), len(pairs))


def _value(rows: Floats, total: Total) -> float:
    return total(tuple(rows.sum(axis=0).tolist()))


def _totals(sums: Floats, total: Total) -> Floats:
    """The metric's value of each row of sums `[draws, k]`; NaN where a draw has none, as all rows of one class."""
    found = np.empty(len(sums))
    for at, each in enumerate(sums.tolist()):
        try:
            found[at] = total(tuple(each))
        except ZeroDivisionError:
            found[at] = np.nan
    return found


def _bounds(values: Floats) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resampled(rows: Floats, seed: int) -> Floats:
    """Sums `[RESAMPLES, k]` of as many rows as there are, drawn with replacement."""
    random = np.random.default_rng(seed)
    count = len(rows)
    step = max(1, CHUNK // count)
    parts = [
        random.multinomial(count, np.full(count, 1 / count), size=min(step, RESAMPLES - start)) @ rows
        for start in range(0, RESAMPLES, step)
    ]
    return np.concatenate(parts)


def _paired_p(a: Floats, b: Floats, total: Total, value: float, seed: int) -> float:
    """Two-sided p of the difference; at least 1 / (RESAMPLES + 1), since the exchange of nothing is one too."""
    random = np.random.default_rng([seed, 1])
    change = b - a
    step = max(1, CHUNK // len(a))
    exchanged = np.concatenate(
        [
            random.integers(0, 2, size=(min(step, RESAMPLES - start), len(a))).astype(np.float64) @ change
            for start in range(0, RESAMPLES, step)
        ]
    )
    sums_a, sums_b = a.sum(axis=0), b.sum(axis=0)
    found = _totals(sums_a + exchanged, total) - _totals(sums_b - exchanged, total)
    close = 1e-12 * max(1.0, abs(value))
    return float((1 + np.sum(np.abs(found) >= abs(value) - close)) / (RESAMPLES + 1))
