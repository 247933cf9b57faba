"""Dots in character cells: braille's eight a cell, or the four quadrants where a font has no braille."""

from collections.abc import Iterator

BRAILLE_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
QUADRANT_DOTS = ((1, 4), (2, 8))
QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"


class Canvas:
    """A grid of dots, two a cell across and four (blocks: two) a cell down; (0, 0) is at the top left.

    A column of dots is one whole number whose bit r is row r, so that a run down costs the same however long.
    """

    def __init__(self, width: int, height: int, blocks: bool = False) -> None:
        self.width, self.height, self.blocks = width, height, blocks
        dots = QUADRANT_DOTS if blocks else BRAILLE_DOTS
        self.deep = len(dots[0])
        """Rows of dots in a cell."""
        self.columns, self.rows = width * 2, height * self.deep
        self._dots = [0] * self.columns
        self._left, self._right = QUADRANT_SIDES if blocks else BRAILLE_SIDES

    def run(self, column: int, top: int, bottom: int) -> None:
        """Set the dots of a column from row `top` to row `bottom`, both too; what is outside is left out."""
        top, bottom = max(top, 0), min(bottom, self.rows - 1)
        if top <= bottom and 0 <= column < self.columns:
            self._dots[column] |= (2 << bottom) - (1 << top)

    def line(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """A straight line between two dots, `x0` at most `x1`, one dot thick."""
        if x1 <= x0:
            self.run(round(x0), *sorted((round(y0), round(y1))))
            return
        slope = (y1 - y0) / (x1 - x0)
        for column in range(max(0, round(x0)), min(self.columns - 1, round(x1)) + 1):
            left, right = max(x0, column - 0.5), min(x1, column + 0.5)
            ya, yb = y0 + (left - x0) * slope, y0 + (right - x0) * slope
            low, high = (ya, yb) if ya <= yb else (yb, ya)
            thin = min(0.5, (high - low) / 2)  # the rows at its ends are the neighbours'
            low, high = low + thin, high - thin
            if high >= -1 and low <= self.rows:
                self.run(column, round(max(low, -1)), round(min(high, self.rows)))

    def take(self, other: "Canvas", columns: int) -> None:
        """Take over the first so many columns of dots of a canvas of the same size."""
        self._dots[:columns] = other._dots[:columns]

    def cells(self, x: int) -> Iterator[tuple[int, int]]:
        """Each cell with dots in a column of cells: its row, and its dots as `character` takes them."""
        deep, ones = self.deep, (1 << self.deep) - 1
        left, right = self._dots[2 * x], self._dots[2 * x + 1]
        both = left | right
        if both:
            y = ((both & -both).bit_length() - 1) // deep
            left, right = left >> y * deep, right >> y * deep
            while left or right:
                bits = self._left[left & ones] | self._right[right & ones]
                if bits:
                    yield y, bits
                left, right, y = left >> deep, right >> deep, y + 1

    def character(self, dots: int) -> str:
        """The character of a cell's dots."""
        return QUADRANTS[dots] if self.blocks else chr(0x2800 + dots)


def _by_rows(side: tuple[int, ...]) -> list[int]:
    """A cell's dots by the rows that are set on one of its sides."""
    return [sum(dot for row, dot in enumerate(side) if rows >> row & 1) for rows in range(1 << len(side))]


BRAILLE_SIDES = tuple(map(_by_rows, BRAILLE_DOTS))
QUADRANT_SIDES = tuple(map(_by_rows, QUADRANT_DOTS))
