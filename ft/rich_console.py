"""A rich console for text of strangers: rich itself lets escape sequences in text through."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from engine.text import without_controls


class SafeConsole(Console):
    """Takes control characters out of text, where rich gives them no width; its own codes for colours and moves stay.

    A command that wants them seen, as signs, replaces them before it lays text out (`engine.text.printable`).
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of a renderable; called for each part of it too."""
        for segment in super().render(renderable, options):
            text = segment.text
            shown = text if segment.control else without_controls(text)
            yield segment if shown is text else Segment(shown, segment.style)
