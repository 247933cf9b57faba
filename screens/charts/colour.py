"""Colours of a chart's parts, kept apart from what they lie on."""

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color

CONTRAST = 3.0
"""Contrast that WCAG 2.2 asks of lines that carry meaning, against the background."""
NAMED = {"plan": "warning", "limit": "error", "mark": "accent", "cursor": "accent", "title": "foreground"}
SHARES = {"axis": 0.3, "muted": 0.65, "note": 0.65}
BAND = 0.45
"""Share of a line's colour in its dim band."""


def style_of(key: str, background: Color, theme: Mapping[str, str]) -> Style:
    """The style of a part: `line #rrggbb`, `raw #rrggbb`, or one of the names above and `text`."""
    foreground = Color.parse(theme["foreground"])
    kind, _, colour = key.partition(" ")
    if colour:
        paint = readable(Color.parse(colour), background, foreground)
        paint = background.blend(paint, BAND) if kind == "raw" else paint
    elif kind in NAMED:
        paint = Color.parse(theme[NAMED[kind]])
    else:
        paint = background.blend(foreground, SHARES.get(kind, 0.9))
    return Style(color=paint.rich_color, bgcolor=background.rich_color, bold=kind in ("title", "mark"))


def readable(paint: Color, background: Color, foreground: Color) -> Color:
    """The colour, drawn towards the foreground as far as it takes to stand out from the background."""
    for share in range(0, 10):
        mixed = paint.blend(foreground, share / 10)
        lighter, darker = sorted((_luminance(mixed), _luminance(background)), reverse=True)
        if (lighter + 0.05) / (darker + 0.05) >= CONTRAST:
            return mixed
    return foreground


def _luminance(colour: Color) -> float:
    """Relative luminance (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
