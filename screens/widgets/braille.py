"""Dots in character cells: braille's eight a cell, or the four quadrants where a font has no braille."""

BRAILLE_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
QUADRANT_DOTS = ((1, 4), (2, 8))
QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"


class Canvas:
    """A grid of dots, two a cell across and four (blocks: two) a cell down; (0, 0) is at the top left."""

    def __init__(self, width: int, height: int, blocks: bool = False) -> None:
        self.width, self.height, self.blocks = width, height, blocks
        self._bits = QUADRANT_DOTS if blocks else BRAILLE_DOTS
        self._deep = len(self._bits[0])
        self.columns, self.rows = width * 2, height * self._deep
        self.cells = bytearray(width * height)
        """The dots of each cell as bits, row after row."""

    def run(self, column: int, top: int, bottom: int) -> None:
        """Set the dots of a column from row `top` to row `bottom`, both too; what is outside is left out."""
        if not 0 <= column < self.columns:
            return
        bits, deep, cells = self._bits[column & 1], self._deep, self.cells
        for row in range(max(0, top), min(self.rows - 1, bottom) + 1):
            cells[row // deep * self.width + (column >> 1)] |= bits[row % deep]

    def line(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """A straight line between two dots, `x0` at most `x1`; each column gets the rows that it crosses."""
        if x1 <= x0:
            self.run(round(x0), *sorted((round(y0), round(y1))))
            return
        slope = (y1 - y0) / (x1 - x0)
        for column in range(max(0, round(x0)), min(self.columns - 1, round(x1)) + 1):
            left, right = max(x0, column - 0.5), min(x1, column + 0.5)
            ya, yb = y0 + (left - x0) * slope, y0 + (right - x0) * slope
            low, high = (ya, yb) if ya <= yb else (yb, ya)
            if high >= -1 and low <= self.rows:
                self.run(column, round(max(low, -1)), round(min(high, self.rows)))

    def character(self, dots: int) -> str:
        """The character of a cell's dots."""
        return QUADRANTS[dots] if self.blocks else chr(0x2800 + dots)
