"""A row as the model sees it: trained tokens bright and underlined, the others dim, special ones in ⟦brackets⟧.

Nothing is shown by colour alone: what is trained is underlined, what is special is in brackets, and what is cut
off stands below a line that says so.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, zip_longest
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.data.preview.values import TokenText, compared

HIDDEN = {0x200B, 0x200C, 0x200E, 0x200F, 0xAD, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
"""Characters that show nothing, or turn the direction of what follows."""

BETWEEN = " │ "
SIDE_BY_SIDE = 60
"""Cells from which the two answers of a pair stand side by side."""
SLICE = 1000
"""Pieces that are wrapped together, in about 5 ms."""


class Run(NamedTuple):
    """Text of one style within a line."""

    text: str
    look: str
    """`trained`, `plain`, with `-special` behind it, `cut` or `note`."""


Line = list[Run]


def wrap(pieces: Iterable[TokenText], width: int, bounds: bool = False, limit: int = 0) -> list[Line]:
    """Lines of at most `width` cells, all of them; see `Wrapping`."""
    wrapping = Wrapping(width, bounds, limit)
    wrapping.feed(pieces)
    return wrapping.done()


def side_by_side(
    pieces: Sequence[TokenText], sides: Sequence[str], width: int, bounds: bool = False, limit: int = 0
) -> list[Line]:
    """Lines of a pair: what both answers begin with, and below it the answers, each in half of the `width`."""
    prompt, *answers = compared(pieces)
    half = (width - len(BETWEEN)) // 2
    columns = [
        [[Run(f"╌╌ {side} ╌╌"[:half], "note")], *wrap(answer, half, bounds, limit)]
        for side, answer in zip(sides, answers, strict=True)
    ]
    found = wrap(prompt, width, bounds, limit)
    for left, right in zip_longest(*columns, fillvalue=[]):
        room = half - sum(cell_len(run.text) for run in left)
        found.append([*left, Run(" " * room, "plain"), Run(BETWEEN, "note"), *right])
    return found


def visible(text: str) -> str:
    """Text in which nothing hides: line breaks, tabs, control and invisible characters have signs."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(_sign(character) for character in text)


class TokenView(ScrollView, can_focus=True):
    """Shows pieces, or plain text where there are none; scrolls by keys and wheel."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "token-view--trained",
        "token-view--plain",
        "token-view--special",
        "token-view--cut",
        "token-view--note",
    }
    DEFAULT_CSS = """
    TokenView { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; overflow-x: hidden; }
    TokenView .token-view--trained { color: $foreground; text-style: bold underline; }
    TokenView .token-view--plain { color: $text-muted; }
    TokenView .token-view--special { color: $accent; }
    TokenView .token-view--cut { color: $text-disabled; text-style: strike; }
    TokenView .token-view--note { color: $warning; }
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.bounds = False
        self._pieces: Sequence[TokenText] = ()
        self._sides: Sequence[str] = ()
        self._limit = 0
        self._plain = ""
        self._lines: list[Line] = []
        self._wrapping: Wrapping | None = None

    def show(self, pieces: Sequence[TokenText], limit: int = 0, sides: Sequence[str] = ()) -> None:
        """Show a row's tokens, from its start; `sides` are the names of its answers where they are compared."""
        self._pieces, self._limit, self._sides, self._plain = pieces, limit, sides, ""
        self._again()
        self.scroll_home(animate=False)

    def show_text(self, text: str) -> None:
        """Show text as it is, wrapped."""
        self._pieces, self._plain = (), text
        self._again()
        self.scroll_home(animate=False)

    def show_bounds(self, on: bool) -> None:
        """Mark token boundaries, or do not."""
        self.bounds = on
        self._again()

    @property
    def text(self) -> str:
        """The text shown, without styles."""
        return "\n".join("".join(run.text for run in line) for line in self._lines)

    def on_resize(self, event: events.Resize) -> None:
        self._again()

    def render_line(self, y: int) -> Strip:
        number = y + self.scroll_offset.y
        if number >= len(self._lines):
            return Strip.blank(self.size.width, self.rich_style)
        looks = groupby(self._lines[number], key=lambda run: run.look)
        segments = [Segment("".join(run.text for run in runs), self._style(look)) for look, runs in looks]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _again(self) -> None:
        """Wrap again. The last column stays free for the scrollbar, so that wrapping does not depend on it."""
        width = self.container_size.width - 2
        if width <= 0:
            return
        if self._plain:
            self._wrapping = None
            self._lines = [
                [Run(part, "plain")]
                for line in self._plain.split("\n")
                for part in chop_cells(visible(line), width) or [""]
            ]
            self._measure()
        elif len(self._sides) > 1 and width >= SIDE_BY_SIDE and len(self._pieces) <= SLICE:
            self._wrapping = None
            self._lines = side_by_side(self._pieces, self._sides, width, self.bounds, self._limit)
            self._measure()
        else:
            self._wrapping = Wrapping(width, self.bounds, self._limit)
            self._lines = self._wrapping.lines
            self._go_on(self._wrapping, 0)

    def _go_on(self, wrapping: "Wrapping", start: int) -> None:
        """Wrap the next pieces, and the others later: a row of many thousands must not hold up the keys."""
        if wrapping is not self._wrapping:
            return  # another row, or another width
        wrapping.feed(self._pieces[start : start + SLICE])
        if start + SLICE < len(self._pieces):
            self.set_timer(0.01, lambda: self._go_on(wrapping, start + SLICE))
        else:
            wrapping.done()
        self._measure()

    def _measure(self) -> None:
        self.virtual_size = Size(self.container_size.width - 2, len(self._lines))
        self.refresh()

    def _style(self, look: str) -> Style:
        kind, _, special = look.partition("-")
        style = self.get_component_rich_style(f"token-view--{kind}")
        if special:
            style += self.get_component_rich_style("token-view--special", partial=True)
        return style


class Wrapping:
    """Pieces into lines, a part at a time. Words stay whole where they fit; with `bounds`, a `·` parts tokens.

    Every line break of the text is shown as ⏎ and breaks the line. `limit` is named where the text is cut.
    """

    def __init__(self, width: int, bounds: bool = False, limit: int = 0) -> None:
        self.lines: list[Line] = []
        """The lines that are finished."""
        self._width = max(width, 2)
        self._bounds = bounds
        self._limit = limit
        self._was_cut = False
        self._first = True
        self._line: Line = []
        self._used = 0
        self._word = 0
        """Index among the line's runs at which the last word starts."""

    def feed(self, pieces: Iterable[TokenText]) -> None:
        """Go on with these."""
        for piece in pieces:
            if not piece.tokens:
                self.rule(piece.text)
                self._was_cut, self._first = False, True
                continue
            if piece.cut and not self._was_cut:
                self.rule(
                    f"truncated here: max_seq_length {self._limit}" if self._limit else "truncated here"
                )
                self._was_cut = self._first = True
            look = "cut" if piece.cut else "trained" if piece.trained else "plain"
            if self._bounds and not self._first:
                self.add("·", "note", joined=True)
            self._first = False
            if piece.special:
                self.add(f"⟦{visible(piece.text)}⟧", f"{look}-special" if look != "cut" else look)
                continue
            for part in _parts(piece.text):
                self.add(visible(part), look, joined=not part[:1].isspace(), ends=part.endswith("\n"))

    def add(self, text: str, look: str, joined: bool = False, ends: bool = False) -> None:
        """Append text; `joined`: it continues the word before it. `ends`: the line ends after it."""
        if not joined:
            self._word = len(self._line)
        size = cell_len(text)
        if self._used + size > self._width:
            self._make_room(size)
        if self._used + size <= self._width:
            self._put(text, look, size)
        else:
            self._fill(text, look)
        if ends:
            self._end()

    def rule(self, words: str) -> None:
        """A line of its own."""
        if self._line:
            self._end()
        self._put(f"╌╌ {words} ╌╌"[: self._width], "note", 0)
        self._end()

    def done(self) -> list[Line]:
        """All lines; nothing comes after."""
        if self._line:
            self._end()
        return self.lines

    def _make_room(self, size: int) -> None:
        """End the line, and take the word that continues to the next one where it fits there."""
        tail = self._line[self._word :]
        taken = sum(cell_len(run.text) for run in tail)
        if taken + size > self._width or not self._word:
            tail, taken = [], 0
        if size <= self._width or self._used + 1 >= self._width:
            del self._line[len(self._line) - len(tail) :]
            self._end()
            self._line, self._used = tail, taken

    def _fill(self, text: str, look: str) -> None:
        """Text that is wider than what is left: cut it at the edge, again and again."""
        left = self._width - self._used
        first = chop_cells(text, left)[0] if left > 0 else ""
        if first and cell_len(first) <= left:
            self._put(first, look, cell_len(first))
            text = text[len(first) :]
        for part in chop_cells(text, self._width):
            if self._line:
                self._end()
            self._put(part, look, cell_len(part))

    def _put(self, text: str, look: str, size: int) -> None:
        self._line.append(Run(text, look))
        self._used += size

    def _end(self) -> None:
        self.lines.append(self._line)
        self._line, self._used, self._word = [], 0, 0


def _parts(text: str) -> Iterator[str]:
    """The text in parts that end with their line break."""
    start = 0
    while (at := text.find("\n", start)) >= 0:
        yield text[start : at + 1]
        start = at + 1
    if start < len(text):
        yield text[start:]


def _sign(character: str) -> str:
    code = ord(character)
    if character == "\n":
        return "⏎"
    if character == "\t":
        return "⇥"
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if code in HIDDEN or 0x80 <= code < 0xA0 or code in (0x2028, 0x2029):
        return f"‹U+{code:04X}›"
    return character
