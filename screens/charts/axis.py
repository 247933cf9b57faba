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
    if not high > low:
        return found
    return found if all(value == int(value) for value in found) else _multiples(low, high, 1)[:most]


def time_ticks(low: float, high: float, most: int) -> list[float]:
    """Round seconds, minutes, hours or days."""
    if not high > low:
        return [low]
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
    if len(found) < 3:
        return ticks(low, high, most)
    return found[:: math.ceil(len(found) / max(1, most))]


def labels(values: Sequence[float]) -> list[str]:
    """The values with as many decimals as tell them apart, the same for all; with powers where they are extreme."""
    largest = max((abs(value) for value in values), default=0.0)
    gaps = [abs(b - a) for a, b in pairwise(values) if b != a]
    if gaps and max(gaps) > 4 * min(gaps):  # a log axis: each value with its own decimals
        return [short(value) for value in values]
    if 0 < largest < 1e-3:
        power = math.floor(math.log10(largest))
        parts = labels([value / 10.0**power for value in values]) if power > -300 else ["0"] * len(values)
        return ["0" if value == 0 else f"{part}e{power}" for value, part in zip(values, parts, strict=True)]
    if largest < 1e4:
        decimals = max(0, -math.floor(math.log10(min(gaps)) + 1e-9)) if gaps else 0
        return [f"{value:.{min(decimals, 9)}f}" if gaps else short(value) for value in values]
    texts = [short(value) for value in values]
    return texts if len(set(texts)) == len(texts) else [f"{value:.15g}" for value in values]


def short(value: float) -> str:
    """Four digits that count: `1.842`, `0.0312`, `2e-05`, `12.4k`, `1.2M`."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if limit <= size < 1e15:
            return f"{value / (1000 if unit == 'k' else limit):.4g}{unit}"
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 1000:
        return [low] * 1001
    return [round(k * step, 12) if step >= 1e-9 else k * step for k in range(first, last + 1)]
