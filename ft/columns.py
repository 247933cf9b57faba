"""Columns of text for lists of thousands of rows, which a table of rich's takes a second for."""

from collections.abc import Sequence

from engine.text import printable
from ft.console import out

GAP = 3
"""Columns between two cells."""
LEAST = 8
"""A column is not made narrower than this to fit into a terminal."""

Cell = tuple[str, str]
"""Text, and the name of its style; empty for none."""


def show(titles: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows under their titles on stdout; a terminal that is too narrow cuts the widest cells, the first last."""
    from rich.cells import cell_len, set_cell_size
    from rich.segment import Segment, Segments

    console = out()
    lines = [[(printable(text), style) for text, style in line] for line in (_bold(titles), *rows)]
    texts = ([text for text, _ in line] for line in lines)
    widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
    while sum(widths) + GAP * (len(widths) - 1) > console.width and max(widths) > LEAST:
        first = 1 if max(widths[1:], default=0) > LEAST else 0
        widths[widths.index(max(widths[first:]), first)] -= 1
    segments = []
    for line in lines:
        for (text, style), width in zip(line, widths, strict=True):
            size = cell_len(text)
            shown = text if size <= width else f"{set_cell_size(text, width - 1)}…"
            segments += [
                Segment(shown, console.get_style(style) if style else None),
                Segment(" " * (width - min(size, width) + GAP)),
            ]
        segments[-1] = Segment.line()
    console.print(Segments(segments), end="")


def _bold(titles: Sequence[str]) -> list[Cell]:
    return [(title, "bold") for title in titles]
