"""Points in the order of one axis, and what a chart asks of them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from engine.runs.curves.pyramid import CAPACITY, Axis, Pyramid, is_number

WINDOWS = 4
"""Windows of a series whose columns are kept, so that only those with new points are looked at again."""


class Bucket(NamedTuple):
    """The points of one column. The four values are all that a line needs to be drawn as if all points were
    (M4: Jugel et al., VLDB 2014). `first` and `last` are NaN where the line is broken there; `low` and `high`
    are inf and -inf where the column has nothing but gaps."""

    x: float
    low: float
    high: float
    last: float
    first: float


@dataclass(frozen=True)
class Finer:
    """A part of a series with each of its points. `places` are those of the steps that it was made of."""

    series: "Series"
    places: Axis
    from_start: bool
    to_end: bool

    def has(self, x0: float, x1: float) -> bool:
        """Return True if all between two places is there, and a point on either side of it where there is one."""
        xs = self.places.xs
        return bool(xs) and (self.from_start or xs[0] < x0) and (self.to_end or x1 < self.places.last)


@dataclass(frozen=True)
class _Columns:
    """A window as it was asked for last: its columns, and the first entry of each."""

    key: tuple[float, float, int]
    found: list[Bucket | None]
    starts: list[int]
    entries: int
    points: int


class Series:
    """Points (x, y) in the order of x, to which one only appends. Not for two threads simultaneously.

    Of a series that has outgrown its capacity single points are gone; where `finer` has them, they are taken
    from there.
    """

    def __init__(
        self,
        axis: Axis | None = None,
        values: Pyramid | None = None,
        capacity: int = CAPACITY,
        finer: Sequence[Finer] = (),
    ) -> None:
        self._axis = Axis(capacity) if axis is None else axis  # an empty one is falsy
        self._values = Pyramid(capacity) if values is None else values
        self._finer = tuple(finer)
        self._windows: dict[int, _Columns] = {}
        self._bounds: tuple[object, tuple[float, float, float, float] | None] = (None, None)

    def append(self, x: float, y: float) -> None:
        """Add a point. A y that is no finite number is a gap; an x that is none is left out."""
        if is_number(x):
            self._axis.append(x)
            self._values.append(y)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def stride(self) -> int:
        """Points an entry: above 1 where the series has outgrown its capacity, and single points are gone."""
        return self._values.stride

    @property
    def version(self) -> tuple[int, int]:
        """Equal to an earlier one where nothing has changed since."""
        return len(self._values), self._values.revision

    def _at(self, x0: float, x1: float) -> "Series":
        """The series that knows most of this window."""
        return next((finer.series for finer in self._finer if finer.has(x0, x1)), self)

    def window(self, x0: float, x1: float, buckets: int) -> list[Bucket | None]:
        """Points in each of `buckets` columns of the same width from `x0` to `x1`; None for an empty column.

        The last column has both its ends. Columns that were asked for before are looked at again only from the
        first on that may have new points.
        """
        best = self._at(x0, x1)
        if best is not self:
            return best.window(x0, x1, buckets)
        xs, ys = self._axis.xs, self._values.values
        count, points, key = min(len(xs), len(ys)), len(self), (x0, x1, self._values.revision)
        kept = self._windows.get(buckets)
        if kept is None or kept.key != key or not kept.starts or kept.starts[0] >= kept.entries:
            found: list[Bucket | None] = []
            starts, start = [], bisect_left(xs, x0, 0, bisect_right(xs, x1, 0, count))
        elif kept.points == points:
            return kept.found
        else:
            column = bisect_right(kept.starts, kept.entries - 1) - 1  # of what was the last entry
            found, starts, start = kept.found[:column], kept.starts[:column], kept.starts[column]
        self._fill(x0, x1, buckets, start, found, starts)
        if len(self._windows) >= WINDOWS and buckets not in self._windows:
            self._windows.clear()
        self._windows[buckets] = _Columns(key, found, starts, count, points)
        return found

    def _fill(
        self, x0: float, x1: float, buckets: int, start: int, found: list[Bucket | None], starts: list[int]
    ) -> None:
        """Add the columns that are missing, the first of which begins with the entry `start`."""
        xs, ys, extremes = self._axis.xs, self._values.values, self._values.extremes
        end = bisect_right(xs, x1, start, min(len(xs), len(ys)))
        for column in range(len(found) + 1, buckets + 1):
            edge = x0 + (x1 - x0) * column / buckets
            stop = end if column == buckets or edge >= x1 else bisect_left(xs, edge, start, end)
            if start < stop:
                low, high = extremes(start, stop)
                found.append(Bucket(xs[start], low, high, ys[stop - 1], ys[start]))
            else:
                found.append(None)
            starts.append(start)
            start = stop

    def bounds(self) -> tuple[float, float, float, float] | None:
        """Smallest and largest x, smallest and largest y; None while there is nothing to draw."""
        if self._bounds[0] != self.version:
            low, high = self._values.extremes(0, len(self._values.values))
            self._bounds = (
                self.version,
                (self._axis.xs[0], self._axis.last, low, high) if low <= high else None,
            )
        return self._bounds[1]

    def nearest(self, x: float) -> tuple[float, float] | None:
        """The point nearest to `x` along the axis; its y is NaN in a gap."""
        best = self._at(x, x)
        xs = best._axis.xs
        if not xs:
            return None
        after = bisect_left(xs, x)
        i = min((i for i in (after - 1, after) if 0 <= i < len(xs)), key=lambda i: abs(xs[i] - x))
        return xs[i], best._values.values[i]

    def before(self, x: float) -> tuple[float, float] | None:
        """The last point before `x`."""
        best = self._at(x, x)
        i = bisect_left(best._axis.xs, x) - 1
        return (best._axis.xs[i], best._values.values[i]) if i >= 0 else None

    def after(self, x: float) -> tuple[float, float] | None:
        """The first point after `x`."""
        best = self._at(x, x)
        i = bisect_right(best._axis.xs, x)
        return (best._axis.xs[i], best._values.values[i]) if i < len(best._axis.xs) else None

    def points(self, x0: float, x1: float) -> Iterator[tuple[float, float]]:
        """The points from `x0` to `x1`, the gaps too."""
        best = self._at(x0, x1)
        xs, ys = best._axis.xs, best._values.values
        for i in range(bisect_left(xs, x0), bisect_right(xs, x1)):
            yield xs[i], ys[i]

    def smoothed(self, weight: float) -> "Series":
        """The exponential moving average: `weight` of the past from 0 to 1. It grows with this series."""
        finer = [replace(each, series=each.series.smoothed(weight)) for each in self._finer]
        return Series(self._axis, self._values.smoothed(weight), finer=finer)
