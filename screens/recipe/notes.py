"""Problems of a recipe between its lines: rows under a line that are not text of the file."""

from collections.abc import Iterator, Mapping, Sequence

from textual.content import Content
from textual.document._document import Location
from textual.document._wrapped_document import WrappedDocument
from textual.geometry import Offset

from engine.config.problems import Problem

CORNER = "╰ "
"""Before a note; it starts under the sign in the gutter."""


class NotedDocument(WrappedDocument):
    """The rows of an editor that does not wrap: the lines of the text, and the notes below some of them.

    The cursor, the mouse and scrolling all ask this class what stands where, so that they agree.
    """

    notes: Mapping[int, Sequence[str]] = {}
    """The rows below a line, by line from 0 upwards."""

    @property
    def height(self) -> int:
        return super().height + sum(map(len, self.notes.values()))

    def at(self, row: int) -> tuple[int, str | None]:
        """The line that a row shows, and the note if it shows one below that line. Both count from 0."""
        for line, notes in self._placed():
            if row <= line:
                break
            if row <= line + len(notes):
                return line, notes[row - line - 1]
            row -= len(notes)
        return row, None

    def offset_to_location(self, offset: Offset) -> Location:
        """A place on the screen as one in the text; on a note, the one above it."""
        x, y = offset
        return super().offset_to_location(Offset(x, self.at(y)[0]))

    def location_to_offset(self, location: Location) -> Offset:
        x, line = super().location_to_offset(location)
        return Offset(x, line + sum(len(notes) for above, notes in self._placed() if above < line))

    def _placed(self) -> Iterator[tuple[int, Sequence[str]]]:
        """The notes, those of lines that are gone below the last one."""
        last = self.document.line_count - 1
        return ((min(line, last), notes) for line, notes in self.notes.items())


def note_rows(problems: Sequence[Problem], line: str, width: int) -> list[str]:
    """The notes below a line, broken to `width` columns; each starts with its corner."""
    found = []
    for problem in problems:
        lines = Content(_message(problem, line)).wrap(max(width - len(CORNER), 1))
        found += [
            ("" if number else CORNER).ljust(len(CORNER)) + one.plain for number, one in enumerate(lines)
        ]
    return found


def _message(problem: Problem, line: str) -> str:
    """A key that stands in the line above needs no naming."""
    message, key = problem.message, f"{problem.key}: "
    if problem.key.rpartition(".")[2] in line:
        message = message.removeprefix(key)
    return "".join(one if one.isprintable() else "·" for one in message)
