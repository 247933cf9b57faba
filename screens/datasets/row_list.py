"""A list of the rows of a file, however many: only those on the screen are asked for."""

from collections import OrderedDict
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.data.preview.values import RowView
from screens.format import short_count

KEPT = 2000
"""Rows whose words are held."""


class RowList(ScrollView, can_focus=True):
    """Number, tokens, trained tokens and first words of each row; the one under the cursor is shown elsewhere."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-list--cursor", "row-list--problem"}
    DEFAULT_CSS = """
    RowList { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; overflow-x: hidden; }
    RowList .row-list--cursor { background: $primary 30%; text-style: bold; }
    RowList .row-list--problem { color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "row above", show=False),
        Binding("down", "move(1)", "row below", show=False),
        Binding("pageup", "page(-1)", "page above", show=False),
        Binding("pagedown", "page(1)", "page below", show=False),
        Binding("home", "edge(False)", "first row", show=False),
        Binding("end", "edge(True)", "last row", show=False),
    ]
    cursor: reactive[int] = reactive(0)

    class Moved(Message):
        """The cursor stands on another row (from 0)."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RowList.Moved)

    class Wanted(Message):
        """The words of these rows are missing."""

        def __init__(self, rows: tuple[int, ...]) -> None:
            super().__init__()
            self.rows = rows

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RowList.Wanted)

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.count = 0
        self._words: OrderedDict[int, RowView] = OrderedDict()

    def show_count(self, count: int) -> None:
        """So many rows there are, or are known so far."""
        if count != self.count:
            self.count = count
            self.virtual_size = Size(self.size.width, count)
            self.refresh()
            self.ask()

    def show_words(self, rows: list[RowView]) -> None:
        """Show rows that were asked for."""
        for row in rows:
            self._words[row.row] = row
        while len(self._words) > KEPT:
            self._words.popitem(last=False)
        self.refresh()

    def clear(self) -> None:
        """Forget all rows: another source, or another model."""
        self._words.clear()
        self.count = 0
        self.virtual_size = Size(self.size.width, 0)
        self.set_reactive(RowList.cursor, 0)
        self.scroll_home(animate=False)
        self.refresh()

    def ask(self) -> None:
        """Ask for the words of the rows on the screen, where any is missing."""
        first = self.scroll_offset.y
        shown = range(first, min(first + max(self.size.height, 1), self.count))
        if any(row not in self._words for row in shown):
            self.post_message(self.Wanted(tuple(shown)))

    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, self.count - 1))

    def watch_cursor(self, before: int, cursor: int) -> None:
        self.scroll_to_region(Region(0, cursor, 1, 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved(cursor))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.ask()

    def on_resize(self, event: events.Resize) -> None:
        self.virtual_size = Size(event.size.width, self.count)
        self.ask()

    def on_click(self, event: events.Click) -> None:
        row = event.y + self.scroll_offset.y
        if row < self.count:
            self.cursor = row

    def action_move(self, rows: int) -> None:
        self.cursor += rows

    def action_page(self, pages: int) -> None:
        self.cursor += pages * max(1, self.size.height - 1)

    def action_edge(self, last: bool) -> None:
        self.cursor = self.count - 1 if last else 0

    def render_line(self, y: int) -> Strip:
        row = y + self.scroll_offset.y
        width = self.size.width
        if row >= self.count:
            return Strip.blank(width, self.rich_style)
        here = row == self.cursor
        style = self.get_component_rich_style("row-list--cursor") if here else self.rich_style
        text = self._line(row, width, here)
        text.truncate(width, overflow="ellipsis")
        segments = [
            Segment(segment.text, style + (segment.style or Style.null())) for segment in self._cut(text)
        ]
        return Strip(segments).adjust_cell_length(width, style)

    def _cut(self, text: Text) -> list[Segment]:
        return [segment for segment in text.render(self.app.console) if segment.text != "\n"]

    def _line(self, row: int, width: int, here: bool) -> Text:
        digits = max(3, len(str(self.count)))
        number = Style(dim=True)
        line = Text("▸" if here else " ", no_wrap=True)
        line.append(f"{row + 1:>{digits}} ", number)
        words = self._words.get(row)
        if words is None:
            line.append("…", number)
        elif words.problem:
            line.append(
                f"✗ {words.problem.removeprefix(words.where + ': ')}",
                self.get_component_rich_style("row-list--problem", partial=True),
            )
        else:
            line.append(f"{short_count(words.tokens):>5} ", number)
            line.append(words.raw)
        return line
