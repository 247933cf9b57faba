"""Numbers that only grow in number, with the least and the greatest of every power of two of them.

Any span's extremes are then found in a time that grows with the logarithm of its length, so that a chart of a
hundred thousand points is drawn from a few thousand comparisons. Past `capacity` entries the finest level is
given up: two entries become one, `stride` doubles, and memory stays as it is however long a run goes on.
"""

import math
from array import array
from weakref import WeakValueDictionary

CAPACITY = 1 << 16
"""Entries that are kept; the screen of a terminal has a few hundred columns."""
GREATEST = 1e300
"""What is larger is as good as infinite: sums and differences of what is smaller do not overflow."""
INF, NAN = math.inf, math.nan


def is_number(value: float) -> bool:
    """Whether a value can be drawn: finite, and not so large that arithmetic with it overflows."""
    return -GREATEST <= value <= GREATEST  # False for NaN


class Axis:
    """Positions, each at least as large as the one before; `xs` has the first of each entry."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.xs = array("d")
        self.last = -GREATEST
        self.stride = 1
        """Positions in an entry, doubled each time that the axis has grown full."""
        self._capacity, self._filled = capacity, 1

    def append(self, x: float) -> None:
        """Add a position; one that lies before the last is taken as the last (a clock that was set back)."""
        self.last = x = max(x, self.last)
        if self._filled < self.stride:
            self._filled += 1
        else:
            self.xs.append(x)
            self._filled = 1
        if len(self.xs) == self._capacity and self._filled == self.stride:
            self.xs = self.xs[::2]
            self.stride = self._filled = self.stride * 2

    def truncate(self, entries: int) -> None:
        """Keep that many entries."""
        if entries < len(self.xs):
            del self.xs[entries:]
            self._filled = self.stride
            self.last = self.xs[-1] if self.xs else -GREATEST


class Pyramid:
    """Values, of which those that are no finite numbers are gaps: NaN in `values`, and in no extreme."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.values = array("d")
        """One an entry; the mean where an entry has several."""
        self.stride = 1
        self._capacity = capacity
        self._filled = 1  # values in the last entry, of which
        self._finite = 0  # are numbers
        self._lows, self._highs = [array("d")], [array("d")]
        self._smoothed: WeakValueDictionary[float, Smoothed] = WeakValueDictionary()

    def __len__(self) -> int:
        """Values appended; those of entries cut off are not counted."""
        return max(0, (len(self.values) - 1) * self.stride + self._filled) if self.values else 0

    def append(self, value: float) -> None:
        """Add a value; NaN and infinity are a gap."""
        number = -GREATEST <= value <= GREATEST
        if self._filled < self.stride:
            self._merge(value, number)
        else:
            self.values.append(value if number else NAN)
            self._lows[0].append(value if number else INF)
            self._highs[0].append(value if number else -INF)
            self._filled, self._finite = 1, int(number)
        if self._filled == self.stride:
            self._carry()
            if len(self.values) == self._capacity:
                self._halve()
        for other in list(self._smoothed.values()) if self._smoothed else ():
            other.append(value)

    def extremes(self, start: int, stop: int) -> tuple[float, float]:
        """Least and greatest of the entries from `start` up to, not including, `stop`; inf and -inf of none."""
        lows, highs = self._lows, self._highs
        low, high, level = INF, -INF, 0
        if start < stop and stop == len(self.values) and self._filled < self.stride:  # in no pair yet
            stop -= 1
            low, high = lows[0][stop], highs[0][stop]
        while stop - start > 12:
            if start & 1:
                low, high = min(low, lows[level][start]), max(high, highs[level][start])
                start += 1
            if stop & 1:
                stop -= 1
                low, high = min(low, lows[level][stop]), max(high, highs[level][stop])
            start, stop, level = start >> 1, stop >> 1, level + 1
        if start < stop:
            low, high = min(low, *lows[level][start:stop]), max(high, *highs[level][start:stop])
        return low, high

    def truncate(self, entries: int) -> None:
        """Keep that many entries."""
        if entries < len(self.values):
            for level, (low, high) in enumerate(zip(self._lows, self._highs, strict=True)):
                del low[entries >> level :], high[entries >> level :]
            del self.values[entries:]
            self._filled = self.stride
        for other in list(self._smoothed.values()):
            other.truncate(entries)

    def smoothed(self, weight: float) -> "Smoothed":
        """These values smoothed, and kept so for as long as somebody holds the result."""
        found = self._smoothed.get(weight)
        if found is None:
            found = self._smoothed[weight] = Smoothed(weight, self)
        return found

    def _merge(self, value: float, number: bool) -> None:
        """Take a value into the last entry."""
        self._filled += 1
        if number:
            self._finite += 1
            mean = self.values[-1] if self._finite > 1 else value
            self.values[-1] = mean + (value - mean) / self._finite
            self._lows[0][-1] = min(self._lows[0][-1], value)
            self._highs[0][-1] = max(self._highs[0][-1], value)

    def _carry(self) -> None:
        """Pair the last entry with its neighbour, the pair with its neighbour, and so on up."""
        count, level = len(self.values), 0
        while not count & 1:
            count, level = count >> 1, level + 1
            if level == len(self._lows):
                self._lows.append(array("d"))
                self._highs.append(array("d"))
            below_low, below_high = self._lows[level - 1], self._highs[level - 1]
            a, b = below_low[-2], below_low[-1]
            self._lows[level].append(a if a < b else b)
            a, b = below_high[-2], below_high[-1]
            self._highs[level].append(a if a > b else b)

    def _halve(self) -> None:
        pairs = zip(self.values[::2], self.values[1::2], strict=True)
        self.values = array("d", (b if a != a else a if b != b else (a + b) / 2 for a, b in pairs))
        del self._lows[0], self._highs[0]
        self.stride *= 2
        self._filled, self._finite = self.stride, 1

    def _build(self) -> None:
        """All levels at once, from `values`."""
        low = array("d", (INF if v != v else v for v in self.values))
        high = array("d", (-INF if v != v else v for v in self.values))
        self._lows, self._highs = [low], [high]
        whole = len(low) if self._filled == self.stride else len(low) - 1
        while whole > 1:
            low = array("d", map(min, low[:whole:2], low[1:whole:2]))
            high = array("d", map(max, high[:whole:2], high[1:whole:2]))
            self._lows.append(low)
            self._highs.append(high)
            whole >>= 1


class Smoothed(Pyramid):
    """The exponential moving average of another pyramid's values, without the pull of its start at zero.

    m = w m + (1 - w) y, divided by the same average of ones (Kingma and Ba 2015, section 3). A gap stays a gap
    and changes nothing after it. Where the other has several values an entry, each entry counts as that many of
    its mean.
    """

    def __init__(self, weight: float, source: Pyramid) -> None:
        super().__init__(source._capacity)
        self.weight = min(max(weight, 0.0), 1 - 1e-9)
        self._sum = self._mass = 0.0
        self.stride, self._filled, self._finite = source.stride, source._filled, source._finite
        keep = self.weight**source.stride
        for value in source.values:
            self.values.append(self._next(value, keep))
        self._build()

    def append(self, value: float) -> None:
        super().append(self._next(value if -GREATEST <= value <= GREATEST else NAN, self.weight))

    def truncate(self, entries: int) -> None:
        super().truncate(entries)
        numbers = sum(1 for value in self.values if value == value)
        last = next((value for value in reversed(self.values) if value == value), 0.0)
        self._mass = 1 - self.weight ** (numbers * self.stride)
        self._sum = last * self._mass

    def _next(self, value: float, keep: float) -> float:
        if value != value:
            return NAN
        self._sum = keep * self._sum + (1 - keep) * value
        self._mass = keep * self._mass + 1 - keep
        return self._sum / self._mass
