"""The editor of a recipe's text: YAML colours, and problems shown between the lines."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, Self

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.cache import LRUCache
from textual.color import Color
from textual.document._document import EditResult, Location
from textual.document._edit import Edit
from textual.document._wrapped_document import WrappedDocument
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widgets import TextArea
from textual.widgets.text_area import LanguageDoesNotExist, TextAreaTheme

from engine.config.problems import Problem
from screens.recipe.notes import CORNER, NotedDocument, note_rows

SIGN = "✖"
"""In the gutter of a line with a problem."""
THEME = "ft"
WIDER = 16
"""Columns by which the text's width grows: a new width lays out the whole screen, which no key should do."""


class Frame(NamedTuple):
    """Geometry that all rows share: columns and rows scrolled away, visible and total columns, and the focus."""

    left: int
    top: int
    width: int
    full_width: int
    focus: bool


class Editor(TextArea):
    """`train.yml` as text. Escape leaves it, tab indents by two spaces.

    Textual draws all of a text again after every key. Here a row that looks as before is left as it is.
    """

    DEFAULT_CSS = "Editor, Editor:focus { border: none; padding: 0; scrollbar-size: 1 1; }"

    def __init__(self) -> None:
        self.problems: Mapping[int, Sequence[Problem]] = {}
        """Problems by line, from 0."""
        self._drawn: dict[int, Hashable] = {}
        """Appearance of each visible row when it was last drawn."""
        self._strips: LRUCache[Hashable, Strip] = LRUCache(512)
        super().__init__(tab_behavior="indent", show_line_numbers=True, soft_wrap=False, max_checkpoints=500)
        self.indent_width = 2
        try:
            self.language = "yaml"
        except LanguageDoesNotExist:  # its grammar is not installed: the text stays plain
            self.language = None

    def on_mount(self) -> None:
        self._use_theme()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._use_theme())

    def on_resize(self) -> None:
        """Keep the cursor visible, and wrap notes to the new width."""
        self._place_notes()
        self.call_after_refresh(self.scroll_cursor_visible)

    def _use_theme(self) -> None:
        """YAML in the colours of the app's theme."""
        self.register_theme(TextAreaTheme(THEME, syntax_styles=syntax_styles(self.app.theme_variables)))
        self.theme = THEME
        self._strips.clear()
        self._drawn.clear()
        self.refresh()

    # Editing

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "escape":  # Textual's would reach the form, where the next key would be typed
            event.stop()
            event.prevent_default()
            self.screen.set_focus(None)
        else:
            await super()._on_key(event)

    def go_to(self, line: int, column: int) -> None:
        """Move the cursor, both counted from 0, into the middle of the rows; to the left as far as it goes."""
        self.move_cursor((line, column))
        x, y = self._cursor_offset
        left = 0 if x + self.gutter_width < self.size.width else None
        self.scroll_to(left, y - self.size.height // 2, animate=False)

    def change_to(self, text: str) -> None:
        """Change to another text by one edit that can be undone: only what differs is replaced, the cursor stays."""
        old = self.text
        if text == old:
            return
        start, end, new = difference(old, text)
        self.history.checkpoint()
        self.replace(new, location(old, start), location(old, end), maintain_selection_offset=True)
        self.history.checkpoint()

    def edit(self, edit: Edit) -> EditResult:
        """Move problems along with their lines until the text has been checked again."""
        before = self.document.line_count
        result = super().edit(edit)
        if by := self.document.line_count - before:
            top = edit.top[0]
            self.problems = {
                line + by if line > top else line: problems for line, problems in self.problems.items()
            }
            self._place_notes()
        return result

    # Problems

    def mark(self, problems: Sequence[Problem]) -> None:
        """Show these problems below their lines, and no others; the cursor stays where it is shown."""
        found: dict[int, list[Problem]] = {}
        last = self.document.line_count - 1
        for problem in sorted(problems, key=lambda one: one.place):
            found.setdefault(min(max(problem.place.line - 1, 0), last), []).append(problem)
        if found != self.problems:
            self.problems = found
            before = self.cursor_screen_offset.y
            self._place_notes()
            if by := self.cursor_screen_offset.y - before:
                self.scroll_relative(y=by, animate=False, immediate=True)

    def _place_notes(self) -> None:
        width = self._room - self.gutter_width + len(CORNER)
        count = self.document.line_count
        self._noted.notes = {
            line: note_rows(problems, self.document[line], width)
            for line, problems in sorted(self.problems.items())
            if line < count
        }
        self._cursor_offset = self._noted.location_to_offset(self.cursor_location)
        self._refresh_size()
        self.refresh()

    @property
    def _room(self) -> int:
        """Columns beside the scrollbar, shown or not: how notes are broken decides whether it is."""
        return self.content_region.width - self.styles.scrollbar_size_vertical

    # What Textual's own asks for

    @property
    def wrapped_document(self) -> NotedDocument:
        """The rows, those between the lines too."""
        return self._noted

    @wrapped_document.setter
    def wrapped_document(self, wrapped: WrappedDocument) -> None:
        self._noted = NotedDocument(wrapped.document, tab_width=self.indent_width)

    def load_text(self, text: str) -> None:
        self.problems = {}
        super().load_text(text)

    def _build_highlight_map(self) -> None:
        super()._build_highlight_map()
        self.refresh()

    def _refresh_size(self) -> None:
        width, _ = self.document.get_size(self.indent_width)
        needed = width + self.gutter_width + 1  # the cursor may rest behind the longest line
        wide = -(-needed // WIDER) * WIDER
        self.virtual_size = Size(self._room if needed <= self._room < wide else wide, self._noted.height)
        self._refresh_scrollbars()

    # Drawing

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        """Draw again what is asked for; where that is everything, the rows that look different now."""
        if repaint and not (regions or layout or recompose) and self._drawn:
            frame, width = self._frame(), self.size.width
            regions = tuple(
                Region(0, y, width, 1)
                for y in range(self.size.height)
                if self._drawn.get(y) != self._look(y, frame)
            )
            if not regions:
                return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _frame(self) -> Frame:
        return Frame(*self.scroll_offset, self.size.width, self.virtual_size.width, self.has_focus)

    def _look(self, y: int, frame: Frame) -> Hashable:
        """Everything that a row is drawn from: equal for rows that look alike."""
        line, note = self._noted.at(y + frame.top)
        shared = (frame.left, frame.width, frame.full_width, frame.focus)
        if note is not None or line >= self.document.line_count:
            return note, shared
        (first, last), (at, column) = sorted(self.selection), self.selection.end
        bracket = self._matching_bracket_location
        return (
            line,
            self.document[line],
            frozenset(self._highlights.get(line, ())),
            tuple(self.problems.get(line, ())),
            (max(first, (line, 0)), min(last, (line + 1, 0))) if first[0] <= line <= last[0] else None,
            (column, self._draw_cursor, bracket) if at == line else None,
            bracket if bracket and bracket[0] == line else None,
            self.gutter_width,
            shared,
        )

    def render_line(self, y: int) -> Strip:
        """A row of the text, or of what is wrong with it."""
        look = self._drawn[y] = self._look(y, self._frame())
        strip = self._strips.get(look)
        if strip is None:
            line, note = self._noted.at(y + self.scroll_offset.y)
            strip = self._strips[look] = self._signed(line) if note is None else self._note(note)
        return strip

    def get_line(self, line_index: int) -> Text:
        """A line, what is wrong in it underlined."""
        line = super().get_line(line_index)
        for problem in self.problems.get(line_index, ()):
            start = min(max(problem.place.column - 1, 0), max(len(line) - 1, 0))
            line.stylize(Style(underline=True), start, _end_of_word(line.plain, start))
        return line

    def _signed(self, line: int) -> Strip:
        """A line of the text with its gutter; the gutter's last column holds the sign of a problem."""
        strip = self._render_line(line - self.scroll_offset.y)
        if line not in self.problems:
            return strip
        at = self.gutter_width - 2
        number, rest = strip.divide([at, strip.cell_length])[:2]
        sign = next(iter(rest.crop(0, 1)), Segment(" ")).style or Style()
        style = Style(bold=True) + self._error_style
        return Strip.join([number.apply_style(style), Strip([Segment(SIGN, sign + style)]), rest.crop(1)])

    def _note(self, note: str) -> Strip:
        """A row of a note: it starts under the sign, and does not scroll sideways."""
        base, text = self._theme.base_style or self.rich_style, note.lstrip()
        indent = " " * (self.gutter_width - len(CORNER) + len(note) - len(text))
        strip = Strip([Segment(indent, base), Segment(text, base + self._error_style)])
        return strip.adjust_cell_length(self.size.width, base)

    @property
    def _error_style(self) -> Style:
        return Style(color=Color.parse(self.app.theme_variables["text-error"]).hex6)


def _end_of_word(line: str, start: int) -> int:
    end = start
    while end < len(line) and line[end] not in " :,]}#":
        end += 1
    return max(end, start + 1)


def difference(old: str, new: str) -> tuple[int, int, str]:
    """The one edit that turns `old` into `new`: start and end of what is replaced in `old`, and the new text."""
    start, most = 0, min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    tail = 0
    while tail < most - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start, len(old) - tail, new[start : len(new) - tail]


def location(text: str, at: int) -> Location:
    """Row and column, from 0, of a character."""
    above = text[:at].splitlines()
    if not above or text[at - 1] in "\r\n\x85\u2028\u2029\x0b\x0c":
        return len(above), 0
    return len(above) - 1, len(above[-1])


def syntax_styles(variables: Mapping[str, str]) -> dict[str, Style]:
    """Rich styles by the names of tree-sitter's YAML query, from a theme's colours."""

    def style(name: str, bold: bool = False, italic: bool = False, share: float = 1.0) -> Style:
        back = Color.parse(variables["surface"])
        colour = back.blend(Color.parse(variables[name]), share, 1.0)
        return Style(color=colour.hex6, bold=bold or None, italic=italic or None)

    value = style("accent")
    return {
        "yaml.field": style("primary"),
        "string": style("foreground"),
        "string.escape": value,
        "number": value,
        "boolean": value,
        "constant.builtin": value,
        "comment": style("foreground", italic=True, share=0.6),
        "type": style("secondary"),
        "preproc": style("secondary"),
        "punctuation.delimiter": style("foreground", share=0.6),
        "punctuation.bracket": style("foreground", share=0.75),
        "punctuation.special": style("secondary"),
    }
