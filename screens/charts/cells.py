"""Cells of text in styles, written one over the other."""

from collections.abc import Iterator
from dataclasses import dataclass

Row = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Frame:
    """Lines of (text, style) runs, and where the plot lies among them."""

    rows: tuple[Row, ...]
    left: int = 0
    top: int = 0
    width: int = 0
    height: int = 0


class Sheet:
    """Cells that are written one over the other."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.text = [[" "] * width for _ in range(height)]
        self.styles = [[""] * width for _ in range(height)]
        self.done: tuple[Row, ...] = ()

    def write(self, x: int, y: int, text: str, style: str) -> None:
        if 0 <= y < self.height:
            for i, character in enumerate(text, x):
                if 0 <= i < self.width:
                    self.text[y][i], self.styles[y][i] = character, style

    def free(self, x: int, y: int, length: int, blank: str = " ") -> bool:
        """Return True if words may stand there: over nothing but `blank` and dim bands."""
        span = slice(max(x, 0), x + length)
        cells = list(zip(self.text[y][span], self.styles[y][span], strict=True))
        return len(cells) == length and all(c in blank or style.startswith("raw") for c, style in cells)

    def rows(self, before: "Sheet | None" = None) -> tuple[Row, ...]:
        """The cells as runs of the same style; those of rows that are as `before` are taken from there."""
        old = zip(before.text, before.styles, before.done, strict=True) if before else ()
        last = [*old, *[((), (), ())] * self.height]
        self.done = tuple(
            row if text == t and style == s else _runs(text, style)
            for text, style, (t, s, row) in zip(self.text, self.styles, last, strict=False)
        )
        return self.done


def _runs(text: list[str], styles: list[str]) -> Row:
    """A row of cells as runs of the same style."""
    runs, start, style = [], 0, styles[0] if styles else ""
    for i, other in enumerate(styles):
        if other != style:
            runs.append(("".join(text[start:i]), style))
            start, style = i, other
    runs.append(("".join(text[start:]), style))
    return tuple(runs)


def changes(before: Frame, after: Frame) -> Iterator[tuple[int, int, int]]:
    """Differences of two frames of the same size: column, row and width, one span a row."""
    for y, (old, new) in enumerate(zip(before.rows, after.rows, strict=True)):
        if old == new:
            continue
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        end = 0
        while end < min(len(old), len(new)) - same and old[-1 - end] == new[-1 - end]:
            end += 1
        start = sum(len(text) for text, _ in new[:same])
        rest = sum(len(text) for text, _ in new[len(new) - end :])
        yield start, y, sum(len(text) for text, _ in new) - start - rest
