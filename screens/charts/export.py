"""A chart saved to files: a picture as SVG, and its points as CSV."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from textual.color import Color

from engine.runs.curves.downsample import Bucket
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining
from screens.charts.colour import readable
from screens.charts.picture import Line, Picture, Scale

WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 20, 70, 50
INK, FAINT = "#1b1f24", "#d0d4d8"
STROKES = {
    "raw": 'stroke-width="1" opacity="0.4"',
    "smooth": 'stroke-width="2"',
    "points": 'stroke-width="1.5"',
}


def save(picture: Picture, folder: Path) -> tuple[Path, Path]:
    """Write `title.svg` and `title.csv` into the folder, with a number where they are there already.

    Raises MachineError where the disk says no.
    """
    with explaining():
        folder.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w.-]+", "-", picture.title).strip("-.").lower()[:60] or "chart"
        for number in count(1):
            name = stem if number == 1 else f"{stem}-{number}"
            paths = folder / f"{name}.svg", folder / f"{name}.csv"
            if not any(path.exists() for path in paths):
                break
        write_atomic(paths[0], svg(picture))
        write_atomic(paths[1], table(picture))
    return paths


def table(picture: Picture) -> str:
    """The points in the window: a row for each, a gap as `nan`; `kind` tells raw from smoothed."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(("line", "kind", picture.axis_label, "value"))
    for line in picture.lines:
        for x, y in line.series.points(picture.x0, picture.x1):
            rows.writerow((line.label, line.style, f"{x:.15g}", repr(y)))
    return out.getvalue()


def svg(picture: Picture) -> str:
    """The picture at 960 by 480, dark on white."""
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 24, picture.title, size=16),
        _text(WIDTH - RIGHT, 24, picture.note, anchor="end"),
    ]
    scale = picture.scale()
    if scale is None:
        body.append(_text(WIDTH / 2, HEIGHT / 2, picture.empty, anchor="middle"))
    else:
        body += _axes(picture, scale)
        body += _levels(picture, scale)
        for style in STROKES:
            for line in picture.lines:
                if line.style == style:
                    body += _line(picture, scale, line)
        body += _marks(picture, scale)
        body += _legend(picture)
    return "\n".join(part for part in body if part) + "\n</svg>\n"


def _x(picture: Picture, x: float) -> float:
    return LEFT + (x - picture.x0) / ((picture.x1 - picture.x0) or 1.0) * (WIDTH - LEFT - RIGHT)


def _y(scale: Scale, value: float) -> float | None:
    share = scale.share(value)
    return None if share is None else HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _axes(picture: Picture, scale: Scale) -> Iterator[str]:
    values = scale.ticks(8)
    for value, label in zip(values, picture.value_texts(values), strict=True):
        y = _y(scale, value) or 0.0
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{FAINT}"/>'
        yield _text(LEFT - 8, y + 4, label, anchor="end")
    across = picture.x_ticks(10)
    for value, label in zip(across, picture.x_texts(across), strict=True):
        yield _text(_x(picture, value), HEIGHT - BOTTOM + 18, label, anchor="middle")
    yield _text(WIDTH - RIGHT, HEIGHT - 10, picture.axis_label, anchor="end")
    yield f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="{INK}" fill="none"/>'


def _levels(picture: Picture, scale: Scale) -> Iterator[str]:
    for level in picture.levels:
        y = _y(scale, level.value)
        if y is not None:
            dash = "2 4" if level.style == "limit" else "6 4"
            yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="{dash}"/>'
            text = f"{level.label} {picture.value_text(level.value)}"
            yield _text(WIDTH - RIGHT, y - 4, text, anchor="end")


def _line(picture: Picture, scale: Scale, line: Line) -> Iterator[str]:
    parts: list[str] = []
    places: list[tuple[float, float]] = []
    pen = "M"
    columns = (WIDTH - LEFT - RIGHT) * 2
    step = ((picture.x1 - picture.x0) or 1.0) / columns
    for column, bucket in enumerate(line.series.window(picture.x0, picture.x1, columns)):
        if bucket is None:
            continue
        alone = bucket.low == bucket.high
        x = _x(picture, bucket.x if alone else picture.x0 + (column + 0.5) * step)
        for value in _order(bucket):
            y = _y(scale, value)
            if y is None:
                pen = "M"
                continue
            parts.append(f"{pen}{x:.1f} {y:.1f}")
            places.append((x, y))
            pen = "L"
    colour = _ink(line)
    yield f'<path d="{"".join(parts)}" stroke={colour} fill="none" {STROKES[line.style]} stroke-linecap="round"/>'
    if line.style == "points":
        for x, y in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill={colour}/>'


def _order(bucket: Bucket) -> tuple[float, ...]:
    """The values of a column as a pen goes through them; a gap at its end lifts the pen."""
    if bucket.low == bucket.high == bucket.first == bucket.last:
        return (bucket.first,)
    inner = (bucket.low, bucket.high) if bucket.low <= bucket.high else ()
    return (bucket.first, *inner, bucket.last)


def _marks(picture: Picture, scale: Scale) -> Iterator[str]:
    for mark in picture.marks:
        if picture.x0 <= mark.x <= picture.x1:
            x = _x(picture, mark.x)
            y = HEIGHT - BOTTOM if mark.y is None else _y(scale, mark.y)
            if y is not None:
                yield _text(x, y + 4, mark.symbol, anchor="middle")
                yield _text(x, y - 8, mark.label if mark.y is not None else "", anchor="middle")


def _legend(picture: Picture) -> Iterator[str]:
    x = float(LEFT)
    for _, line, _ in picture.entries():
        yield f'<rect x="{x}" y="40" width="14" height="8" fill={_ink(line)}/>'
        yield _text(x + 20, 48, line.label)
        x += 36 + 7 * len(line.label)


def _ink(line: Line) -> str:
    """A line's colour, as an attribute, darkened where it would be too pale for paper."""
    return quoteattr(readable(Color.parse(line.colour), Color.parse("white"), Color.parse(INK)).hex)


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    if not text:
        return ""
    shown = escape("".join(c for c in text if c.isprintable()))
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{INK}">{shown}</text>'
    )
