"""Numbers that only grow in number, with the least and the greatest of each 16, each 256, and so on.

Any span's extremes are then found in a time that grows with the logarithm of its length, so that a chart of a
hundred thousand points is drawn from a few thousand comparisons. (16, not 2: short slices are compared in C.)
Past `capacity` entries two entries become one, `stride` doubles, and memory stays as it is however long a run
continues.
"""

import math
from array import array
from collections.abc import Generator
from weakref import ref

CAPACITY = 1 << 14
"""Entries that are kept; the screen of a terminal has a few hundred columns, and what lies between two of them
is read again from the file when somebody looks (`engine.runs.curves.zoom`)."""
PORTION = 4096
"""Entries that are smoothed at a time: a few milliseconds."""
GREATEST = 1e300
"""Larger numbers count as infinite: sums and differences of smaller ones do not overflow."""
FAN_BITS = 4
FAN = 1 << FAN_BITS
"""Entries that the next level has one of."""
MOST_WEIGHT = 1 - 1e-9
INF, NAN = math.inf, math.nan


def is_number(value: float) -> bool:
    """Return True if a value can be drawn: finite, and not so large that arithmetic with it overflows."""
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
        if x < self.last:
            x = self.last
        self.last = x
        if self._filled < self.stride:
            self._filled += 1
        else:
            self.xs.append(x)
            self._filled = 1
        if self._filled == self.stride and len(self.xs) == self._capacity:
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
        self.revision = 0
        """Grows when something has changed other than by appending."""
        self._capacity = capacity
        self._filled = 1  # values in the last entry, of which
        self._finite = 0  # are numbers
        self._lows, self._highs = [array("d")], [array("d")]
        self._smoothed: list[ref[Smoothed]] = []  # those that somebody holds

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
            if not len(self.values) % FAN:
                self._carry()
            if len(self.values) == self._capacity:
                self._halve()
        for found in self._smoothed:
            if (other := found()) is not None:
                other.append(value)

    def extremes(self, start: int, stop: int) -> tuple[float, float]:
        """Least and greatest of the entries from `start` up to, not including, `stop`; inf and -inf of none."""
        if start >= stop:
            return INF, -INF
        last = stop - 1 if stop == len(self.values) and self._filled < self.stride else stop
        low, high = self._lows[0][last:stop], self._highs[0][last:stop]  # an entry that is in no level above
        stop, level = last, 0
        while stop - start > 2 * FAN:
            inner, outer = (start + FAN - 1) >> FAN_BITS, stop >> FAN_BITS
            a, b = inner << FAN_BITS, outer << FAN_BITS
            below_low, below_high = self._lows[level], self._highs[level]
            low += below_low[start:a] + below_low[b:stop]
            high += below_high[start:a] + below_high[b:stop]
            start, stop, level = inner, outer, level + 1
        low += self._lows[level][start:stop]
        high += self._highs[level][start:stop]
        return min(low), max(high)

    def truncate(self, entries: int) -> None:
        """Keep that many entries."""
        if entries < len(self.values):
            for level, (low, high) in enumerate(zip(self._lows, self._highs, strict=True)):
                del low[entries >> FAN_BITS * level :], high[entries >> FAN_BITS * level :]
            del self.values[entries:]
            self._filled = self.stride
            self.revision += 1
        for found in self._smoothed:
            if (other := found()) is not None:
                other.truncate(entries)

    def smoothed(self, weight: float) -> "Smoothed":
        """These values smoothed, and kept so for as long as somebody holds the result; `weight` as `Smoothed`."""
        work = self.smoothing(weight)
        while True:
            try:
                next(work)
            except StopIteration as done:
                result: Smoothed = done.value
                return result

    def smoothing(self, weight: float) -> Generator[None, None, "Smoothed"]:
        """As `smoothed`, a portion at a time, between which values may be appended."""
        weight = min(max(weight, 0.0), MOST_WEIGHT) if weight == weight else 0.0
        held = (other for found in self._smoothed if (other := found()) is not None)
        smooth = next((other for other in held if other.weight == weight), None)
        while smooth is None:
            made, revision = Smoothed(weight, self), self.revision
            while revision == self.revision and made.catch_up(self):
                yield
            smooth = made if revision == self.revision else None
        alive = [found for found in self._smoothed if found() is not None and found() is not smooth]
        self._smoothed = [*alive, ref(smooth)]
        return smooth

    def _merge(self, value: float, number: bool) -> None:
        """Take a value into the last entry."""
        self._filled += 1
        if number:
            self._finite += 1
            mean = self.values[-1] if self._finite > 1 else value
            self.values[-1] = mean + (value - mean) / self._finite
            low, high = self._lows[0], self._highs[0]
            if value < low[-1]:
                low[-1] = value
            if value > high[-1]:
                high[-1] = value

    def _carry(self) -> None:
        """Sum the last entries up in the levels above, where they are as many as one of these holds."""
        count, level = len(self.values), 0
        while not count % FAN:
            if level + 1 == len(self._lows):
                self._lows.append(array("d"))
                self._highs.append(array("d"))
            self._lows[level + 1].append(min(self._lows[level][-FAN:]))
            self._highs[level + 1].append(max(self._highs[level][-FAN:]))
            count, level = count // FAN, level + 1

    def _halve(self) -> None:
        """Make one entry of two. As many of the new make one of the level above as before of the old."""
        ys = self.values
        means = [(a + b) / 2 for a, b in zip(ys[::2], ys[1::2], strict=True)]
        for i, mean in enumerate(means):
            if mean != mean:
                means[i] = ys[2 * i] if ys[2 * i + 1] != ys[2 * i + 1] else ys[2 * i + 1]
        self.values = array("d", means)
        self.stride *= 2
        self._filled = self.stride
        self.revision += 1
        for levels, pick in ((self._lows, min), (self._highs, max)):
            levels[:] = [array("d", map(pick, level[::2], level[1::2])) for level in levels]
        while len(self._lows) > 1 and not self._lows[-1]:
            del self._lows[-1], self._highs[-1]


class Smoothed(Pyramid):
    """The exponential moving average of another pyramid's values, without the pull of its start at zero.

    m = w m + (1 - w) y, divided by the same average of ones (Kingma and Ba 2015, section 3). A gap stays a gap
    and changes nothing after it. Where the other has several values an entry, each entry counts as that many of
    its mean. It is empty until `catch_up` has been told of all that is there.
    """

    def __init__(self, weight: float, source: Pyramid) -> None:
        super().__init__(source._capacity)
        self.weight = weight
        self.stride = self._filled = source.stride
        self._sum = self._mass = 0.0

    def catch_up(self, source: Pyramid) -> bool:
        """Take the next portion of another's entries; whether there are more."""
        start = len(self.values)
        keep, total, mass = self.weight**source.stride, self._sum, self._mass
        count = len(source.values)
        for value in source.values[start : start + PORTION]:
            if value == value:
                total, mass = keep * total + (1 - keep) * value, keep * mass + 1 - keep
                value = total / mass
            self.values.append(value)
            self._lows[0].append(INF if value != value else value)
            self._highs[0].append(-INF if value != value else value)
            if not len(self.values) % FAN and (len(self.values) < count or source._filled == source.stride):
                self._carry()
        self._sum, self._mass = total, mass
        if len(self.values) < count:
            return True
        self._filled, self._finite = source._filled, source._finite
        return False

    def append(self, value: float) -> None:
        if -GREATEST <= value <= GREATEST:
            keep = self.weight
            self._sum = keep * self._sum + (1 - keep) * value
            self._mass = keep * self._mass + 1 - keep
            value = self._sum / self._mass
        super().append(value)

    def truncate(self, entries: int) -> None:
        super().truncate(entries)
        numbers = sum(1 for value in self.values if value == value)
        last = next((value for value in reversed(self.values) if value == value), 0.0)
        self._mass = 1 - self.weight ** (numbers * self.stride)
        self._sum = last * self._mass
