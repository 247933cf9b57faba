"""The last thing that happens to a line before the terminal gets it: control characters in it are taken out."""

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from engine.text import without_controls


class WithoutControls(LineFilter):
    """Takes out what a terminal would obey. It has no width, so what is beside it stays in its place."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments of a line without control characters; the same list where there are none."""
        cleaned = [without_controls(segment.text) for segment in segments]
        if all(text is segment.text for text, segment in zip(cleaned, segments, strict=True)):
            return segments
        return [
            segment if segment.control else Segment(text, segment.style)
            for text, segment in zip(cleaned, segments, strict=True)
        ]
