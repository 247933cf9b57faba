"""Charts for the terminal: windows, axes, braille lines, export to SVG and CSV."""
