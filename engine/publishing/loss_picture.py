"""Losses of a run as an SVG picture, for the card beside its result."""

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from engine.metrics.registry import EVAL_LOSS
from engine.runs.curves.downsample import Bucket, Series
from engine.runs.curves.series import RunSeries
from engine.runs.directory.events import Memory
from engine.runs.directory.run import Run

NAME = "loss.svg"
WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 40, 45
INK, FAINT, TRAINED, VALIDATED = "#1b1f24", "#d0d4d8", "#0969da", "#bc4c00"
TICKS = 5
SMOOTHING = 0.9
SMOOTHED_FROM = 200
"""Steps from which on the training loss is shown smoothed too: of fewer, the mean lags behind most of the picture."""


def loss_picture(run: Run) -> str | None:
    """The losses by step as SVG; None where no step was made."""
    series = RunSeries()
    for event in run.events(without=(Memory,)):
        series.feed(event)
    trained, validated = series.series("loss", "step"), series.series(EVAL_LOSS, "step")
    bounds = [found for one in (trained, validated) if (found := one.bounds())]
    if not bounds or trained.bounds() is None:
        return None
    x0, x1 = min(b[0] for b in bounds), max(b[1] for b in bounds)
    frame = _Frame(x0, max(x1, x0 + 1), min(b[2] for b in bounds), max(b[3] for b in bounds))
    smooth = len(trained) >= SMOOTHED_FROM
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12" role="img" aria-label="training and validation loss by step">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *frame.axes(),
        frame.line(trained, TRAINED, 'stroke-width="1" opacity="0.35"' if smooth else 'stroke-width="1.5"'),
    ]
    if smooth:
        body.append(frame.line(trained.smoothed(SMOOTHING), TRAINED, 'stroke-width="2"'))
    if len(validated):
        body += [frame.line(validated, VALIDATED, 'stroke-width="1.5"'), *frame.points(validated, VALIDATED)]
    body += _legend(smooth, bool(len(validated)))
    return "\n".join(body) + "\n</svg>\n"


class _Frame:
    """Rectangle of the picture in which steps and losses have their places."""

    def __init__(self, x0: float, x1: float, low: float, high: float) -> None:
        margin = (high - low) * 0.05 or max(abs(high) * 0.05, 0.05)
        self.x0, self.x1, self.low, self.high = x0, x1, low - margin, high + margin

    def x(self, step: float) -> float:
        return LEFT + (step - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, loss: float) -> float:
        return HEIGHT - BOTTOM - (loss - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def axes(self) -> Iterator[str]:
        for value in _ticks(self.low, self.high):
            y = self.y(value)
            yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{FAINT}"/>'
            yield _text(LEFT - 8, y + 4, f"{value:.6g}", "end")
        for value in _ticks(self.x0, self.x1):
            if value == int(value):
                yield _text(self.x(value), HEIGHT - BOTTOM + 18, f"{value:.0f}", "middle")
        yield _text(WIDTH - RIGHT, HEIGHT - 8, "step", "end")
        yield f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="{INK}" fill="none"/>'

    def line(self, series: Series, colour: str, style: str) -> str:
        """The series, at most four points for each column of the picture; broken at what is no number."""
        parts, pen = [], "M"
        columns = WIDTH - LEFT - RIGHT
        wide = (self.x1 - self.x0) / columns
        for column, bucket in enumerate(series.window(self.x0, self.x1, columns)):
            if bucket is None:
                continue
            alone = bucket.first == bucket.last
            x = self.x(bucket.x if alone else self.x0 + (column + 0.5) * wide)
            for value in _order(bucket):
                if math.isfinite(value):
                    parts.append(f"{pen}{x:.1f} {self.y(value):.1f}")
                pen = "L" if math.isfinite(value) else "M"
        return f'<path d="{"".join(parts)}" stroke="{colour}" fill="none" {style} stroke-linejoin="round"/>'

    def points(self, series: Series, colour: str) -> Iterator[str]:
        for step, loss in series.points(self.x0, self.x1):
            if math.isfinite(loss):
                yield f'<circle cx="{self.x(step):.1f}" cy="{self.y(loss):.1f}" r="3" fill="{colour}"/>'


def _order(bucket: Bucket) -> tuple[float, ...]:
    """The values of a column as a pen goes through them."""
    if bucket.low == bucket.high == bucket.first == bucket.last:
        return (bucket.first,)
    inner = (bucket.low, bucket.high) if bucket.low <= bucket.high else ()
    return (bucket.first, *inner, bucket.last)


def _ticks(low: float, high: float) -> list[float]:
    """At most a few round values between two others."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(index * step, 12) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _legend(smooth: bool, validated: bool) -> Iterator[str]:
    entries = [(TRAINED, "training loss" + (", faint as it was and smoothed" if smooth else ""))]
    entries += [(VALIDATED, "validation loss")] if validated else []
    x = float(LEFT)
    for colour, label in entries:
        yield f'<rect x="{x:.0f}" y="14" width="14" height="8" fill="{colour}"/>'
        yield _text(x + 20, 22, label, "start")
        x += 44 + 6.5 * len(label)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{escape(text)}</text>'
