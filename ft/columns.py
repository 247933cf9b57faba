"""Columns of text for lists of thousands of rows, which a table of rich's takes a second for."""

import os
import sys
from collections.abc import Iterator, Sequence

from engine.text import printable
from ft import console

GAP = 3
"""Columns between two cells."""
LEAST = 8
"""A column is not made narrower than this to fit into a terminal."""

Cell = tuple[str, str]
"""Text, and the name of its style; empty for none."""


def show(titles: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows under their titles on stdout; a terminal that is too narrow cuts the widest cells, the first last.

    Where stdout is no terminal there are no styles, and rich's console is not loaded.
    """
    lines = [[(printable(text), style) for text, style in line] for line in (_bold(titles), *rows)]
    if not sys.stdout.isatty() and not os.environ.get("FORCE_COLOR"):
        for line in _padded(lines, console.PIPE_WIDTH):
            print("".join(text for text, _ in line))
        return
    from rich.segment import Segment, Segments

    terminal = console.out()
    segments = []
    for line in _padded(lines, terminal.width):
        segments += [Segment(text, terminal.get_style(style) if style else None) for text, style in line]
        segments.append(Segment.line())
    terminal.print(Segments(segments), end="")


def _padded(lines: Sequence[Sequence[Cell]], room: int) -> Iterator[list[Cell]]:
    """The cells of each line, cut to `room` columns in all and padded to the width of their column."""
    from rich.cells import cell_len, set_cell_size

    texts = ([text for text, _ in line] for line in lines)
    widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
    while sum(widths) + GAP * (len(widths) - 1) > room and max(widths) > LEAST:
        first = 1 if max(widths[1:], default=0) > LEAST else 0
        widths[widths.index(max(widths[first:]), first)] -= 1
    for line in lines:
        cells: list[Cell] = []
        for (text, style), width in zip(line, widths, strict=True):
            size = cell_len(text)
            shown = text if size <= width else f"{set_cell_size(text, width - 1)}…"
            cells += [(shown, style), (" " * (width - min(size, width) + GAP), "")]
        yield cells[:-1]


def _bold(titles: Sequence[str]) -> list[Cell]:
    return [(title, "bold") for title in titles]
