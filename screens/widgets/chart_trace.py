"""Lines drawn in dots, and laid over each other."""

import math
from collections.abc import Sequence

from screens.widgets.braille import Canvas
from screens.widgets.chart_picture import Line, Picture, Scale
from screens.widgets.chart_sheet import Frame, Sheet

FAR = 1e6
"""Windows; no line is led to a point that lies further away."""


def trace(canvas: Canvas, picture: Picture, line: Line, scale: Scale) -> list[tuple[int, int]]:
    """Draw a line; returns the last dot of each column that has one, as (column, row)."""
    row = scale.placing(canvas.rows - 1)
    span = (picture.x1 - picture.x0) or 1.0

    def beyond(point: tuple[float, float] | None) -> tuple[float, float] | None:
        """The place of a point outside of the window, to which the line leads."""
        place = row(point[1]) if point else None
        if point is None or place is None or abs(point[0] - picture.x0) > span * FAR:
            return None
        return (point[0] - picture.x0) / span * canvas.columns, place

    previous = beyond(line.series.before(picture.x0))
    places = []
    for column, bucket in enumerate(line.series.window(picture.x0, picture.x1, canvas.columns)):
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
    following = beyond(line.series.after(picture.x1))
    if previous and following:
        canvas.line(*previous, *following)
    return places


def _order(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a <= b else (b, a)


def compose(sheet: Sheet, frame: Frame, layers: Sequence[tuple[Canvas, Line]]) -> None:
    """Lay the lines over each other; where a line runs over a raw band, the line alone is seen."""
    dots: dict[tuple[int, int], int] = {}
    bands: set[tuple[int, int]] = set()
    for canvas, line in layers:
        raw = line.style == "raw"
        style = f"{'raw' if raw else 'line'} {line.colour}"
        for x, y, bits in canvas.cells():
            cell = (x, y)
            if raw:
                bands.add(cell)
            elif cell in bands:
                bands.discard(cell)
                dots[cell] = 0
            bits |= dots.get(cell, 0)
            dots[cell] = bits
            sheet.text[frame.top + y][frame.left + x] = canvas.character(bits)
            sheet.styles[frame.top + y][frame.left + x] = style
