"""The editor of a recipe's text: YAML colours, problems marked on their lines."""

from collections.abc import Mapping, Sequence

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.document._document import Location
from textual.strip import Strip
from textual.widgets import TextArea
from textual.widgets.text_area import LanguageDoesNotExist, TextAreaTheme

from engine.config.problems import Problem

SIGN = "✖"
"""In the gutter of a line with a problem."""
THEME = "ft"


class Editor(TextArea):
    """`train.yml` as text. Escape leaves it, tab indents by two spaces."""

    DEFAULT_CSS = "Editor, Editor:focus { border: none; padding: 0; scrollbar-size: 1 1; }"

    def __init__(self) -> None:
        super().__init__(tab_behavior="indent", show_line_numbers=True, soft_wrap=False, max_checkpoints=500)
        self.indent_width = 2
        self.problems: Mapping[int, Sequence[Problem]] = {}
        """What is wrong, by line from 0."""
        try:
            self.language = "yaml"
        except LanguageDoesNotExist:  # its grammar is not installed: the text stays plain
            self.language = None

    def on_mount(self) -> None:
        self._use_theme()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._use_theme())

    def on_resize(self) -> None:
        """What is being written stays in sight when the pane shrinks, as when problems are listed below."""
        self.call_after_refresh(self.scroll_cursor_visible)

    def _use_theme(self) -> None:
        """YAML in the colours of the app's theme."""
        self.register_theme(TextAreaTheme(THEME, syntax_styles=syntax_styles(self.app.theme_variables)))
        self.theme = THEME
        self._line_cache.clear()
        self.refresh()

    def mark(self, problems: Sequence[Problem]) -> None:
        """Mark the lines of these problems, and no others."""
        found: dict[int, list[Problem]] = {}
        last = self.document.line_count - 1
        for problem in problems:
            found.setdefault(min(max(problem.place.line - 1, 0), last), []).append(problem)
        if found != self.problems:
            self.problems = found
            self._line_cache.clear()
            self.refresh()

    def change_to(self, text: str) -> None:
        """Another text by one edit that can be undone: only what differs is replaced, the cursor stays."""
        old = self.text
        if text == old:
            return
        start, end, new = difference(old, text)
        self.history.checkpoint()
        self.replace(new, location(old, start), location(old, end), maintain_selection_offset=True)
        self.history.checkpoint()

    def get_line(self, line_index: int) -> Text:
        """A line, what is wrong in it underlined."""
        line = super().get_line(line_index)
        for problem in self.problems.get(line_index, ()):
            start = min(max(problem.place.column - 1, 0), max(len(line) - 1, 0))
            line.stylize(Style(underline=True), start, _end_of_word(line.plain, start))
        return line

    def _render_line(self, y: int) -> Strip:
        """A line with its gutter; the gutter's last column holds the sign of a problem."""
        strip = super()._render_line(y)
        row = y + self.scroll_offset.y
        if row not in self.problems:
            return strip
        at = self.gutter_width - 2
        number, rest = strip.divide([at, strip.cell_length])[:2]
        style = Style.parse("bold") + Style(color=self._error_colour())
        sign = next(iter(rest.crop(0, 1)), Segment(" ")).style or Style()
        return Strip.join([number.apply_style(style), Strip([Segment(SIGN, sign + style)]), rest.crop(1)])

    def _error_colour(self) -> str:
        return Color.parse(self.app.theme_variables["error"]).hex6


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


def difference(old: str, new: str) -> tuple[int, int, str]:
    """Start and end of the one stretch of `old` that differs, and what stands there in `new`."""
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


def _end_of_word(line: str, start: int) -> int:
    end = start
    while end < len(line) and line[end] not in " :,]}#":
        end += 1
    return max(end, start + 1)
