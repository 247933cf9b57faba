"""A rich console for text of strangers: rich itself lets escape sequences in text through."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from engine.text import printable


class PrintableConsole(Console):
    """Writes control characters in text as signs; its own codes for colours and moves stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of a renderable; called for each part of it too."""
        for segment in super().render(renderable, options):
            text = segment.text
            shown = text if segment.control else printable(text)
            yield segment if shown is text else Segment(shown, segment.style)
