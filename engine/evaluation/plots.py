"""Plots of a report, as SVG without scripts: differences with their intervals, and a histogram of rows."""

from collections.abc import Sequence
from html import escape

WIDTH, LINE, LEFT = 860, 26, 230
"""Pixels: the plot, one metric, and the column of names."""
BINS = 21
Drawn = tuple[str, float, float, float, str]
"""Title, difference, its bounds, and the class of its colour."""


def differences(drawn: Sequence[Drawn]) -> str:
    """Each metric's difference, scaled by its own interval, on a line with its bounds; 0 is the middle."""
    if not drawn:
        return ""
    middle, half = (LEFT + WIDTH) / 2, (WIDTH - LEFT) / 2 - 20
    height = LINE * len(drawn) + 10
    parts = [_line(middle, 0, middle, height, "#8a95a3", 'stroke-dasharray="3 3"')]
    for at, (title, value, low, high, kind) in enumerate(drawn):
        y = LINE * at + LINE / 2 + 5
        scale = half / (max(abs(low), abs(high), abs(value)) or 1.0)
        colour = {"good": "#0f8a4b", "bad": "#c2373c"}.get(kind, "#6d7986")
        parts.append(f'<text x="0" y="{y + 5:.1f}" font-size="13" fill="currentColor">{escape(title)}</text>')
        parts.append(_line(middle + low * scale, y, middle + high * scale, y, colour, 'stroke-width="3"'))
        parts.append(f'<circle cx="{middle + value * scale:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
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
    height, width = 140, WIDTH / BINS
    parts = []
    for at, count in enumerate(counts):
        tall = 110 * count / max(counts)
        colour = "#6d7986" if at == BINS // 2 else "#4b7bb5"
        parts.append(
            f'<rect x="{at * width + 1:.1f}" y="{115 - tall:.1f}" width="{width - 2:.1f}" height="{tall:.1f}" '
            f'fill="{colour}"><title>{count}</title></rect>'
        )
    for x, text, anchor in (
        (0, f"{-most:.3g}", "start"),
        (WIDTH / 2, "0", "middle"),
        (WIDTH, f"{most:.3g}", "end"),
    ):
        parts.append(
            f'<text x="{x}" y="134" font-size="12" text-anchor="{anchor}" fill="currentColor">{text}</text>'
        )
    return _svg(height, parts, f"Rows by their difference in {metric}")


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="100%" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
    return f"<figure>{drawing}<figcaption class=soft>{escape(title)}</figcaption></figure>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>'
