"""Lines drawn in dots, and laid over each other; what has not changed since the last time is not drawn again."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.runs.curves.downsample import Bucket
from screens.charts.braille import Canvas
from screens.charts.cells import Frame, Sheet
from screens.charts.picture import Line, Picture, Scale

FAR = 1e6
"""Windows; no line is led to a point that lies further away."""
Place = tuple[float, float]
Cell = tuple[int, str, str]
"""Row, character and style."""


@dataclass
class Trace:
    """A line as it was drawn last."""

    line: Line
    picture: Picture
    scale: Scale
    canvas: Canvas
    buckets: Sequence[Bucket | None]
    following: Place | None
    places: list[tuple[int, int]]
    """The last dot of each column that has one, as (column, row)."""
    changed: int = 0
    """The first column of dots that is not as it was the time before."""

    def like(self, other: "Trace") -> bool:
        """Return True if the same points have the same places in both."""
        a, b = self.canvas, other.canvas
        return (
            self.line == other.line
            and self.scale == other.scale
            and (self.picture.x0, self.picture.x1) == (other.picture.x0, other.picture.x1)
            and (a.width, a.height, a.blocks) == (b.width, b.height, b.blocks)
        )


class Tracer:
    """Draws the lines of one chart, and keeps what it has drawn."""

    def __init__(self) -> None:
        self.sheet: Sheet | None = None
        """The cells as they were written last."""
        self._kept: list[Trace] = []
        self._new: list[Trace] = []
        self._columns: list[list[Cell]] = []

    def trace(self, picture: Picture, line: Line, scale: Scale, width: int, height: int) -> Trace:
        """Draw the next line, in as many cells. `compose` ends the round."""
        canvas = Canvas(width, height, picture.blocks)
        row = scale.placing(canvas.rows - 1)
        series = line.series
        buckets = series.window(picture.x0, picture.x1, canvas.columns)
        following = _beyond(picture, series.after(picture.x1), row, canvas.columns)
        new = Trace(line, picture, scale, canvas, buckets, following, [])
        old = self._kept[len(self._new)] if len(self._new) < len(self._kept) else None
        self._new.append(new)
        column, previous = -1, _beyond(picture, series.before(picture.x0), row, canvas.columns)
        if old is not None and old.like(new):
            changed = _first_change(old, new)
            if changed is None:
                new.canvas, new.places, new.changed = old.canvas, old.places, canvas.columns
                return new
            # What comes after a column reaches back into it, and no further.
            column = _filled_before(buckets, _filled_before(buckets, changed))
            bucket = buckets[column] if column >= 0 else None
            if bucket is not None:
                canvas.take(old.canvas, column + 1)
                new.places = [place for place in old.places if place[0] <= column]
                new.changed = column
                last = row(bucket.last)
                previous = None if last is None else (column, last)
        _draw(new, column + 1, previous, row)
        return new

    def compose(self, sheet: Sheet, frame: Frame) -> None:
        """Lay the lines over each other; where a line runs over a raw band, the line alone is seen."""
        kept, self._kept, self._new = self._kept, self._new, []
        same = len(kept) == len(self._kept) and all(map(Trace.like, kept, self._kept))
        start = min((trace.changed // 2 for trace in self._kept), default=0) if same else 0
        self._columns[start:] = [_column(self._kept, x) for x in range(start, frame.width)]
        for x, column in enumerate(self._columns, frame.left):
            for y, character, style in column:
                sheet.text[frame.top + y][x] = character
                sheet.styles[frame.top + y][x] = style


def _beyond(
    picture: Picture, point: Place | None, row: Callable[[float], float | None], columns: int
) -> Place | None:
    """The place of a point outside of the window, to which the line leads."""
    span = (picture.x1 - picture.x0) or 1.0
    place = row(point[1]) if point else None
    if point is None or place is None or abs(point[0] - picture.x0) > span * FAR:
        return None
    return (point[0] - picture.x0) / span * columns, place


def _first_change(old: Trace, new: Trace) -> int | None:
    for column, (a, b) in enumerate(zip(old.buckets, new.buckets, strict=True)):
        if a is not b and a != b:
            return column
    return None if old.following == new.following else len(new.buckets)


def _filled_before(buckets: Sequence[Bucket | None], column: int) -> int:
    """The last column before this one that has points; -1 where none has."""
    return next((i for i in range(column - 1, -1, -1) if buckets[i] is not None), -1)


def _draw(trace: Trace, start: int, previous: Place | None, row: Callable[[float], float | None]) -> None:
    """Draw the columns from `start` on, led from the place before them."""
    canvas, places = trace.canvas, trace.places
    for column in range(start, canvas.columns):
        bucket = trace.buckets[column]
        if bucket is None:
            continue
        last, first, top = row(bucket.last), row(bucket.first), row(bucket.high)
        if top is not None:
            bottom = row(bucket.low)
            if bottom is None:  # a log axis has no place for it
                bottom = max(top, top if last is None else last, top if first is None else first)
            places.append((column, round(top if last is None else last)))
            if previous is not None and first is not None:
                step = first - previous[1]
                if column - previous[0] > 1:
                    canvas.line(*previous, column, first)
                elif abs(step) > 1:  # half the way in each of two neighbours, without a row in both
                    half, dot = previous[1] + step / 2, math.copysign(0.5, step)
                    canvas.run(column - 1, *_order(round(previous[1]), round(half - dot)))
                    top, bottom = min(top, half + dot), max(bottom, half + dot)
            canvas.run(column, round(top), round(bottom))
        previous = None if last is None else (column, last)
    if previous and trace.following:
        canvas.line(*previous, *trace.following)


def _order(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a <= b else (b, a)


def _column(traces: Sequence[Trace], x: int) -> list[Cell]:
    """The cells of a column, all lines over each other."""
    found: dict[int, tuple[int, str]] = {}
    bands: set[int] = set()
    for trace in traces:
        raw = trace.line.style == "raw"
        style = f"{'raw' if raw else 'line'} {trace.line.colour}"
        for y, bits in trace.canvas.cells(x):
            if raw:
                bands.add(y)
            elif y in bands:
                bands.discard(y)
                found.pop(y)
            found[y] = (bits | found.get(y, (0, ""))[0], style)
    character = traces[0].canvas.character if traces else str
    return [(y, character(bits), style) for y, (bits, style) in found.items()]
