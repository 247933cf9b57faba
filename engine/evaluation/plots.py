"""Plots of a report, as SVG without scripts: differences with their intervals, and a histogram of rows.

They are as wide as a phone, so that their words can be read there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.evaluation.markup import text

WIDTH, LINE = 420, 42
"""Units of a plot's width, and of the height of one metric: a line of words above its interval."""
BINS = 21
HALF = WIDTH / 2 - 12
GREY = "#7c8895"
COLOURS = {"good": "#159a57", "bad": "#d2474c"}
"""Readable on white and on black."""


@dataclass(frozen=True)
class Gap:
    """One metric's difference with its bounds; `written` is what it is in words, `kind` the name of its colour."""

    title: str
    value: float
    low: float
    high: float
    written: str
    kind: str


def differences(gaps: Sequence[Gap]) -> str:
    """Each metric's difference, scaled by its own interval, on a line with its bounds; 0 is the middle."""
    if not gaps:
        return ""
    middle, height = WIDTH / 2, LINE * len(gaps) + 8
    parts = [_line(middle, 0, middle, height, GREY, 'stroke-dasharray="3 3"')]
    for at, gap in enumerate(gaps):
        top = LINE * at
        y = top + 32
        scale = HALF / (max(abs(gap.low), abs(gap.high), abs(gap.value)) or 1.0)
        colour = COLOURS.get(gap.kind, GREY)
        left, right = middle + gap.low * scale, middle + gap.high * scale
        parts += [
            _text(0, top + 18, gap.title, "start"),
            _text(WIDTH, top + 18, gap.written, "end"),
            _line(left, y, right, y, colour, 'stroke-width="3"'),
            *(_line(x, y - 5, x, y + 5, colour, 'stroke-width="2"') for x in (left, right)),
            f'<circle cx="{middle + gap.value * scale:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>',
        ]
    return _svg(
        height, parts, "Differences with 95 % intervals, each on a scale of its own; the dashed line is 0"
    )


def histogram(values: Sequence[float], metric: str) -> str:
    """Number of rows by the difference of their scores; empty where there is none."""
    if not values or not any(values):
        return ""
    most = max(map(abs, values))
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int((value / most + 1) / 2 * BINS))] += 1
    width = WIDTH / BINS
    parts = []
    for at, count in enumerate(counts):
        tall = 100 * count / max(counts)
        colour = GREY if at == BINS // 2 else "#4f86c6"
        parts.append(
            f'<rect x="{at * width + 1:.1f}" y="{116 - tall:.1f}" width="{width - 2:.1f}" height="{tall:.1f}" '
            f'fill="{colour}"/>'
        )
        if count:
            parts.append(_text((at + 0.5) * width, 112 - tall, str(count), "middle", 10))
    parts.append(_line(0, 116.5, WIDTH, 116.5, GREY, 'stroke-width="1"'))
    for x, words, anchor in (
        (0, f"{-most:.3g}", "start"),
        (WIDTH / 2, "0", "middle"),
        (WIDTH, f"+{most:.3g}", "end"),
    ):
        parts.append(_text(x, 132, words, anchor, 12))
    return _svg(138, parts, f"Number of rows by their difference in {metric}")


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{text(title)}">'
        f"{''.join(parts)}</svg>"
    )
    return f'<figure>{drawing}<figcaption class="soft">{text(title)}</figcaption></figure>'


def _text(x: float, y: float, words: str, anchor: str, size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="currentColor">'
        f"{text(words)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>'
