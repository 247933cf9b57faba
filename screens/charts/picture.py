"""Content of a chart: lines, levels and marks in a window, and how values become places."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.runs.curves.downsample import Bucket, Series
from engine.runs.curves.pyramid import GREATEST, is_number
from screens import format as words
from screens.charts import axis

LEAST = 1e-290
"""A smaller span of values is as good as none."""
SYMBOLS = "●◆■▲▼★○◇"
"""Lines are told apart by these too, not by colour alone."""


@dataclass(frozen=True)
class Line:
    """A series with its looks. Lines of the same label are one entry of the legend."""

    label: str
    series: Series
    colour: str
    """`#rrggbb`; the chart darkens it where it would not stand out from the background."""
    style: Literal["raw", "smooth", "points"] = "smooth"
    """A dim band behind the others; a bright line; or points joined by a line."""
    symbol: str = ""
    """Its mark, with which the label may begin; empty for one of `SYMBOLS`."""


@dataclass(frozen=True)
class Level:
    """A value to compare with, as a line across."""

    label: str
    value: float
    style: Literal["plan", "limit"] = "plan"


@dataclass(frozen=True)
class ChartMark:
    """Something that happened at `x`: on the chart's floor, or at the value `y`, where its label stands too."""

    x: float
    symbol: str
    label: str = ""
    y: float | None = None


@dataclass(frozen=True)
class Scale:
    """Values to shares of the height, 0 at the bottom."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float | None:
        """None for what has no place: NaN, and on a log axis what is not above 0."""
        if value != value or (self.log and value <= 0):
            return None
        if self.log:
            start = math.log10(self.low)
            return (math.log10(value) - start) / (math.log10(self.high) - start)
        return (value - self.low) / (self.high - self.low)

    def placing(self, tall: float) -> Callable[[float], float | None]:
        """`share` for many values: their distance from the top of what is `tall`."""
        if self.log:
            start = math.log10(self.low)
            unit = tall / (math.log10(self.high) - start)
            return lambda value: tall - (math.log10(value) - start) * unit if 0 < value <= GREATEST else None
        low, unit = self.low, tall / (self.high - self.low)
        return lambda value: tall - (value - low) * unit if -GREATEST <= value <= GREATEST else None

    def ticks(self, most: int) -> list[float]:
        return (axis.log_ticks if self.log else axis.ticks)(self.low, self.high, most)


@dataclass(frozen=True)
class Picture:
    """One moment of a chart."""

    lines: Sequence[Line]
    x0: float
    x1: float
    levels: Sequence[Level] = ()
    marks: Sequence[ChartMark] = ()
    title: str = ""
    note: str = ""
    axis_label: str = "step"
    formatter: Callable[[float], str] | None = None
    log: bool = False
    from_zero: bool = False
    blocks: bool = False
    cursor: float | None = None
    empty: str = ""

    def value_text(self, value: float) -> str:
        if value != value:
            return "not a number"
        return self.formatter(value) if self.formatter else axis.short(value)

    def value_texts(self, values: Sequence[float]) -> list[str]:
        """The labels of the upright axis."""
        return [self.formatter(v) for v in values] if self.formatter else axis.labels(values)

    def x_text(self, x: float) -> str:
        """A place on the axis, in full."""
        if self.axis_label == "time":
            return words.clock(x)
        return words.count(x) if x == int(x) else axis.short(x)

    def x_texts(self, values: Sequence[float]) -> list[str]:
        """The labels of the axis."""
        return [words.clock(x) for x in values] if self.axis_label == "time" else axis.labels(values)

    def x_ticks(self, most: int) -> list[float]:
        pick = axis.time_ticks if self.axis_label == "time" else axis.whole_ticks
        return pick(self.x0, self.x1, most)

    def entries(self) -> list[tuple[str, Line, Line | None]]:
        """The legend: a symbol, the line that stands for a label, and its raw line where that is another."""
        main: dict[str, Line] = {}
        raw: dict[str, Line] = {}
        for line in self.lines:
            if line.style == "raw":
                raw[line.label] = line
            if line.style != "raw" or line.label not in main:
                main[line.label] = line
        return [
            (
                line.symbol or SYMBOLS[i % len(SYMBOLS)],
                line,
                raw.get(label) if raw.get(label) is not line else None,
            )
            for i, (label, line) in enumerate(main.items())
        ]

    def scale(self) -> Scale | None:
        """The span of values to be seen in the window; None where there are none."""
        columns = 64 if self.log else 1
        lows, highs = [], []
        for line in self.lines:
            for bucket in line.series.window(self.x0, self.x1, columns):
                if bucket is not None and (found := self._span(bucket)):
                    lows.append(found[0])
                    highs.append(found[1])
        if not lows:
            return None
        for level in self.levels:
            if is_number(level.value) and (level.value > 0 or not self.log):
                lows.append(level.value)
                highs.append(level.value)
        return _roomy_log(min(lows), max(highs)) if self.log else self._roomy(min(lows), max(highs))

    def _roomy(self, low: float, high: float) -> Scale:
        """The span with a little room around it; flat lines get some height to lie in."""
        low = min(low, 0.0) if self.from_zero else low
        room = (high - low) * 0.05 if high - low > LEAST else abs(high) * 0.1 if abs(high) > LEAST else 1.0
        return Scale(low if self.from_zero and low == 0 else low - room, high + room)

    def _span(self, bucket: Bucket) -> tuple[float, float] | None:
        shown = [v for v in (bucket.low, bucket.high, bucket.first, bucket.last) if is_number(v)]
        shown = [v for v in shown if v > 0 or not self.log]
        return (min(shown), max(shown)) if shown else None

    def hides_values(self) -> bool:
        """True if a log axis leaves out values in the window, as they are not above 0."""
        if not self.log:
            return False
        windows = (line.series.window(self.x0, self.x1, 1) for line in self.lines)
        return any(bucket is not None and bucket.low <= 0 for found in windows for bucket in found)


def _roomy_log(low: float, high: float) -> Scale:
    start, end = math.log10(low), math.log10(high)
    room = (end - start) * 0.04 if end - start > 1e-4 else 0.2
    return Scale(max(10 ** (start - room), low * 1e-20, 5e-324), 10 ** min(end + room, 307), log=True)
