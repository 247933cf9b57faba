"""Round values for an axis, and their labels."""

import math
from collections.abc import Sequence
from itertools import pairwise

SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Steps between ticks of time."""


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round values from `low` to `high`, 1, 2 or 5 times a power of ten apart."""
    if not high > low or most < 1:
        return [low] if most >= 1 else []
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        found = _multiples(low, high, step)
        if len(found) <= most:
            return found
    return []


def whole_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values of what is counted, such as steps: no halves."""
    found = ticks(low, high, most)
    return found if all(value == int(value) for value in found) else _multiples(low, high, 1)[:most]


def time_ticks(low: float, high: float, most: int) -> list[float]:
    """Round seconds, minutes, hours or days."""
    for step in SECONDS:
        if (high - low) / step <= most and len(found := _multiples(low, high, step)) <= most:
            return found
    return [day * 86400 for day in ticks(low / 86400, high / 86400, most)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten between two positive values; also 2 and 5 times them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for parts in ((1, 2, 5), (1,)):
        found = [part * 10.0**k for k in range(first, last + 1) for part in parts]
        found = [value for value in found if low <= value <= high]
        if len(found) <= most:
            break
    if len(found) < 2:
        return ticks(low, high, most)
    return found[:: math.ceil(len(found) / max(1, most))]


def labels(values: Sequence[float]) -> list[str]:
    """The values with as many decimals as tell them apart, the same for all; powers where they are extreme."""
    largest = max((abs(value) for value in values), default=0.0)
    gaps = [abs(b - a) for a, b in pairwise(values) if b != a]
    least = min(gaps, default=largest)
    if largest == 0 or 1e-3 <= largest < 1e5:
        decimals = 0 if least == 0 else min(6, max(0, -math.floor(math.log10(least) + 1e-9)))
        if least / max(largest, 1e-300) >= 1e-6:
            if gaps and max(gaps) > 5 * least:  # a log axis: each value with its own decimals
                return [f"{value:.6g}" for value in values]
            return [f"{value:.{decimals}f}" for value in values]
    return [short(value) for value in values]


def short(value: float) -> str:
    """Four digits that count: `1.842`, `0.0312`, `2e-05`, `12.4k`, `1.2M`."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if limit <= size < 1e15:
            return f"{value / (1000 if unit == 'k' else limit):.4g}{unit}"
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")


def clock(seconds: float) -> str:
    """A moment of training: `45 s`, `2:05`, `1:02:03`, with the days in hours."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 1000:
        return [low] * 1001
    return [round(k * step, 12) if step >= 1e-9 else k * step for k in range(first, last + 1)]
