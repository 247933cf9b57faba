"""One line being typed: its text and the caret in it."""

from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style


@dataclass(frozen=True)
class LineEditor:
    """A line and its caret, in characters from the line's start. Each change gives another one."""

    text: str
    caret: int

    def insert(self, new: str) -> "LineEditor":
        """With `new` before the caret."""
        return LineEditor(self.text[: self.caret] + new + self.text[self.caret :], self.caret + len(new))

    def back(self) -> "LineEditor":
        """Without the character before the caret; the caret must not be at the start."""
        return LineEditor(self.text[: self.caret - 1] + self.text[self.caret :], self.caret - 1)

    def delete(self) -> "LineEditor":
        """Without the character after the caret."""
        return LineEditor(self.text[: self.caret] + self.text[self.caret + 1 :], self.caret)

    def segments(self, width: int, style: Style) -> list[Segment]:
        """The line in `width` columns, after a blank one, moved so that its caret is in sight."""
        start = max(0, self.caret - (width - 3))
        shown = f" {self.text[start:]} "[:width].ljust(width)
        at = 1 + self.caret - start
        return [
            Segment(shown[:at], style),
            Segment(shown[at], style + Style(reverse=True)),
            Segment(shown[at + 1 :], style),
        ]
