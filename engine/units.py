"""Numbers, sizes and times for people, the same in the app and on the command line."""

import math
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise

MISSING = "–"
"""Mark of a value that is not known."""
LEVELS = "▁▂▃▄▅▆▇█"
"""Blocks of a sparkline, lowest first."""


def size(count: float | None) -> str:
    """Bytes in powers of ten, three digits: `512 B`, `3.4 kB`, `76.1 MB`, `2.13 GB`, `36.0 GB`."""
    if count is None:
        return MISSING
    return _scaled(float(count), (" B", " kB", " MB", " GB", " TB"))


def count(number: float | None) -> str:
    """A whole number with thin groups of three: `1 842`, `5 000 000`."""
    return MISSING if number is None else f"{number:,.0f}".replace(",", "\u202f")


def short_count(number: float | None) -> str:
    """A large number in short: `950`, `12.4k`, `135M`, `7.62B`."""
    if number is None:
        return MISSING
    return _scaled(float(number), ("", "k", "M", "B", "T"))


def percent(share: float | None) -> str:
    """A share from 0 to 1 as `94 %`."""
    return MISSING if share is None else f"{share * 100:.0f} %"


def loss(value: float | None) -> str:
    """A loss with four digits that count: `1.842`, `0.0312`, `nan`."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return str(value)
    return f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def clock(seconds: float) -> str:
    """Elapsed time as a clock shows it: `2:03` or `1:02:03`."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float | None) -> str:
    """A length of time in at most two units: `8 s`, `4 min 10 s`, `2 h 5 min`, `3 days 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    whole = round(max(0.0, seconds))
    for large, name, small, below in (
        (86400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= large:
            first, rest = divmod(whole, large)
            name = "day" if name == "days" and first == 1 else name
            return f"{first} {name}" + (f" {rest // small} {below}" if rest // small else "")
    return f"{whole} s"


def ago(moment: float | None, now: float | None = None) -> str:
    """The time since a unix time, in one unit: `just now`, `21 min ago`, `3 days ago`."""
    if moment is None:
        return MISSING
    gone = (time.time() if now is None else now) - moment
    for length, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if gone >= length:
            number = int(gone // length)
            return f"{number} {unit}{'s' if unit == 'day' and number > 1 else ''} ago"
    return "just now"


def one_line(text: str, width: int = 100) -> str:
    """Text without line breaks or control characters, cut to `width` characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def sparkline(values: Iterable[float], width: int = 32) -> str:
    """The values as at most `width` blocks, the mean of neighbours where there are more.

    NaN and infinities are left out.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    columns = min(width, len(finite))
    edges = [round(i * len(finite) / columns) for i in range(columns + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(LEVELS[round((mean - low) / span * (len(LEVELS) - 1))] for mean in means)


def _scaled(value: float, units: Sequence[str]) -> str:
    """A number in the largest unit that it fills, each a thousand of the one before."""
    at = 0
    while abs(value) >= 999.5 and at < len(units) - 1:
        value, at = value / 1000, at + 1
    return f"{value:.0f}{units[0]}" if at == 0 else f"{_three_digits(value)}{units[at]}"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"
