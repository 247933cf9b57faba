"""A chart's picture drawn in the cells of a terminal."""

import textwrap
from collections.abc import Sequence

from screens.charts.cells import Frame, Sheet
from screens.charts.picture import ChartMark, Picture, Scale
from screens.charts.trace import Tracer

LEVELS = {"plan": "╌", "limit": "┄"}


def draw(picture: Picture, width: int, height: int, tracer: Tracer | None = None) -> Frame:
    """The picture in `width` by `height` cells; parts that have no room are left out, the plot last.

    With the `tracer` of the time before, lines are drawn again only where they have changed.
    """
    sheet = Sheet(width, height)
    top = 0
    if height >= 4:
        top = _header(sheet, picture)
    scale = picture.scale()
    bottom = height - 1 if height >= 6 and scale else height
    if scale is None or width < 3 or bottom <= top:
        _say(sheet, picture.empty, top)
        return Frame(sheet.rows())
    tall = bottom - top
    values = scale.ticks(max(3, min(4, tall // 2), min(8, tall // 3))) if tall > 2 else []
    texts = picture.value_texts(values)
    left = max(map(len, texts), default=0) + 1 if width >= 20 else 0
    frame = Frame((), left, top, width - left, tall)
    _upright(sheet, frame, scale, values, texts)
    if bottom < height:
        _along(sheet, frame, picture, bottom)
    tracer = tracer or Tracer()
    _plot(sheet, frame, picture, scale, tracer)
    before, tracer.sheet = tracer.sheet, sheet
    return Frame(sheet.rows(before), left, top, width - left, tall)


def _say(sheet: Sheet, text: str, top: int) -> None:
    """Words in the middle, in as many rows as they need."""
    rows = textwrap.wrap(text, max(1, sheet.width - 2))[: sheet.height - top]
    first = top + (sheet.height - top - len(rows)) // 2
    for y, row in enumerate(rows, first):
        sheet.write((sheet.width - len(row)) // 2, y, row, "muted")


def _header(sheet: Sheet, picture: Picture) -> int:
    """Title, notes and legend in one row, or in two where they need them; returns the rows taken."""
    end = 0
    notes = [picture.note] if picture.note else []
    if picture.hides_values():
        notes.append("≤ 0 not shown")
    if picture.cursor is not None:
        label = f"{picture.axis_label} {picture.x_text(picture.cursor)}"
        notes = [label, *(m.label for m in _marks_at(picture, picture.cursor) if m.label)]
    for text, style in ((picture.title, "title"), (" · ".join(notes), "note")):
        if text:
            sheet.write(end, 0, text, style)
            end += len(text) + 2
    legend = _legend(picture)
    if not legend:
        return 1 if end else 0
    length = sum(len(symbol + text) + 3 for symbol, _, text in legend)
    row, x = 0, max(end, sheet.width - length + 2)
    if end and end + length - 2 > sheet.width and sheet.height >= 8:
        row, x = 1, 0
    for i, (symbol, style, text) in enumerate(legend):
        if x + len(text) + 2 > sheet.width and i:
            sheet.write(min(x, sheet.width - 3), row, f"+{len(legend) - i}", "muted")
            break
        sheet.write(x, row, symbol, style)
        sheet.write(x + 2, row, text, "text")
        x += len(text) + 4
    return row + 1


def _legend(picture: Picture) -> list[tuple[str, str, str]]:
    found = []
    for symbol, line, raw in picture.entries():
        at = picture.x1 if picture.cursor is None else picture.cursor
        point = line.series.nearest(at)
        text = line.label.removeprefix(symbol).lstrip()
        if point:
            text += f" {picture.value_text(point[1])}"
            far = abs(point[0] - at) > (picture.x1 - picture.x0) / 100
            text += f" @{picture.x_text(point[0])}" if picture.cursor is not None and far else ""
        if picture.cursor is not None and raw and (point := raw.series.nearest(at)):
            text += f" (raw {picture.value_text(point[1])})"
        found.append((symbol, f"line {line.colour}", text.strip()))
    return found


def _marks_at(picture: Picture, x: float) -> list[ChartMark]:
    near = (picture.x1 - picture.x0) / 100
    return [mark for mark in picture.marks if abs(mark.x - x) <= near]


def _upright(sheet: Sheet, frame: Frame, scale: Scale, values: Sequence[float], texts: Sequence[str]) -> None:
    if not frame.left:
        return
    for y in range(frame.top, frame.top + frame.height):
        sheet.write(frame.left - 1, y, "│", "axis")
    for value, text in zip(values, texts, strict=True):
        row = _row(frame, scale, value)
        if row is not None:
            sheet.write(frame.left - 1 - len(text), row, text, "muted")
            sheet.write(frame.left - 1, row, "┤", "axis")


def _along(sheet: Sheet, frame: Frame, picture: Picture, row: int) -> None:
    label = picture.axis_label
    end = sheet.width - len(label) - 1 if frame.width >= len(label) * 3 else sheet.width
    values = picture.x_ticks(max(3, frame.width // 10))
    sheet.write(sheet.width - len(label), row, label if end < sheet.width else "", "muted")
    free = 0
    for value, text in zip(values, picture.x_texts(values), strict=True):
        x = frame.left + _cell(picture, value, frame.width) - len(text) // 2
        x = max(x, 0)
        if free <= x and x + len(text) <= end:
            sheet.write(x, row, text, "muted")
            free = x + len(text) + 1


def _cell(picture: Picture, x: float, width: int) -> int:
    span = picture.x1 - picture.x0
    return min(width - 1, int((x - picture.x0) / span * width)) if span > 0 else 0


def _plot(sheet: Sheet, frame: Frame, picture: Picture, scale: Scale, tracer: Tracer) -> None:
    _levels(sheet, frame, picture, scale)
    ends: list[tuple[int, int, str, str]] = []
    symbols = {id(line): symbol for symbol, line, _ in picture.entries()}
    for line in sorted(picture.lines, key=lambda line: ("raw", "smooth", "points").index(line.style)):
        trace = tracer.trace(picture, line, scale, frame.width, frame.height)
        places, deep = trace.places, trace.canvas.deep
        symbol = symbols.get(id(line))
        if symbol and places:
            dots = places if line.style == "points" and len(places) <= frame.width / 3 else places[-1:]
            ends += [(c // 2, r // deep, symbol, f"line {line.colour}") for c, r in dots]
    tracer.compose(sheet, frame)
    for x, y, symbol, style in ends:
        sheet.write(frame.left + x, frame.top + y, symbol, style)
    _level_labels(sheet, frame, picture, scale)
    _marks(sheet, frame, picture, scale)
    _cursor(sheet, frame, picture, scale)


def _levels(sheet: Sheet, frame: Frame, picture: Picture, scale: Scale) -> None:
    for level in picture.levels:
        y = _row(frame, scale, level.value)
        if y is not None:
            sheet.write(frame.left, y, LEVELS[level.style] * frame.width, level.style)


def _level_labels(sheet: Sheet, frame: Frame, picture: Picture, scale: Scale) -> None:
    """Name each level at its right end, or near it where a line runs there."""
    for level in picture.levels:
        y = _row(frame, scale, level.value)
        text = f" {level.label} {picture.value_text(level.value)} "
        right = sheet.width - len(text)
        if y is None or right < frame.left:
            continue
        for row, x in ((y, right), (y - 1, right), (y + 1, right), (y, frame.left), (y, right)):
            if frame.top <= row < frame.top + frame.height and sheet.free(x, row, len(text), " ╌┄"):
                break
        sheet.write(x, row, text, level.style)


def _row(frame: Frame, scale: Scale, value: float) -> int | None:
    """The row of cells of a value, None where it is not in sight."""
    share = scale.share(value)
    if share is None or not 0 <= share <= 1:
        return None
    return frame.top + round((1 - share) * (frame.height * 4 - 1)) // 4  # as the dots of braille


def _marks(sheet: Sheet, frame: Frame, picture: Picture, scale: Scale) -> None:
    for mark in sorted(picture.marks, key=lambda mark: mark.y is not None):  # those with values on top
        if not picture.x0 <= mark.x <= picture.x1:
            continue
        x = frame.left + _cell(picture, mark.x, frame.width)
        y = frame.top + frame.height - 1 if mark.y is None else _row(frame, scale, mark.y)
        if y is None:
            continue
        sheet.write(x, y, mark.symbol, "mark")
        if mark.y is not None and mark.label:
            _label(sheet, frame, x, y, mark.label)


def _label(sheet: Sheet, frame: Frame, x: int, y: int, text: str) -> None:
    """Write beside a mark where no line is: above it, below it, or in its own row; else not at all."""
    start = max(frame.left, min(x - len(text) // 2, sheet.width - len(text)))
    near = [(row, start) for row in (y - 1, y + 1, y - 2, y + 2)]
    for row, column in ((y, x + 2), *near, (y, x - 1 - len(text))):
        inside = frame.top <= row < frame.top + frame.height and column >= frame.left
        if inside and sheet.free(column, row, len(text)):
            sheet.write(column, row, text, "text")
            return


def _cursor(sheet: Sheet, frame: Frame, picture: Picture, scale: Scale) -> None:
    if picture.cursor is None or not picture.x0 <= picture.cursor <= picture.x1:
        return
    x = frame.left + _cell(picture, picture.cursor, frame.width)
    for y in range(frame.top, frame.top + frame.height):
        if sheet.text[y][x] == " ":
            sheet.write(x, y, "│", "cursor")
    for symbol, line, _ in picture.entries():
        point = line.series.nearest(picture.cursor)
        share = scale.share(point[1]) if point else None
        if share is not None and 0 <= share <= 1:
            sheet.write(x, frame.top + round((1 - share) * (frame.height - 1)), symbol, f"line {line.colour}")
