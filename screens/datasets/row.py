"""One row as the model sees it: its source, its problem and its tokens."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from engine.data.preview.values import Opened, RowView
from engine.data.setting_advice import in_recipe
from screens.datasets.tokens import TokenView
from screens.format import count


class RowPane(Vertical):
    """A row's tokens, or why there are none."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._row: RowView | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="about", markup=False)
        yield Static(id="problem", markup=False)
        yield TokenView(id="tokens")

    def on_mount(self) -> None:
        self.border_title = "as the model sees it"

    @property
    def tokens(self) -> TokenView:
        """The tokens."""
        return self.query_one(TokenView)

    def about(self, text: str) -> None:
        """Say which source the rows are from, and which model they are shown for."""
        self.query_one("#about", Static).update(text)

    def show(self, row: RowView, opened: Opened | None) -> None:
        """Show a row of a file."""
        if row.pieces:
            self.tokens.show(row.pieces, row.limit, row.sides)
        else:
            self.tokens.show_text(row.raw)
        self._problem(row.problem, opened.hint if opened and not opened.format else "")
        self._row = row
        self.recount(opened)

    def recount(self, opened: Opened | None) -> None:
        """Update the row's position, once more rows are counted."""
        if self._row is not None:
            self.border_title = " · ".join(_title(self._row, opened))

    def say(self, problem: str, hint: str) -> None:
        """Show a problem in place of a row; nothing where `problem` is empty."""
        self._problem(problem, hint)
        self._row = None
        if problem:
            self.about("")
            self.tokens.show_text("")

    def _problem(self, problem: str, hint: str) -> None:
        shown = self.query_one("#problem", Static)
        shown.update(in_recipe(f"✗ {problem}" + (f"\n  {hint}" if hint else "")))
        shown.set_class(bool(problem), "-shown")


def _title(row: RowView, opened: Opened | None) -> list[str]:
    """Parts of the title: number, format and length of a row."""
    parts = [f"row {count(row.row + 1)} of {count(opened.known if opened else 0)}"]
    if opened and opened.format:
        parts.append(opened.format)
    if row.pieces:
        parts.append(f"{count(row.tokens)} tokens, {count(row.trained)} trained")
    if row.lost or (row.examples == 1 and row.tokens > row.limit > 0):
        parts.append(f"truncated at {count(row.limit)}: {count(row.lost)} trained tokens lost")
    if row.sides:
        parts.append(" and ".join(row.sides) if row.examples > 1 else f"labelled {row.sides[0]}")
    elif row.examples > 1:
        parts.append(f"{count(row.examples)} examples")
    if row.unseen:
        parts.append(f"{row.unseen} not shown by the template")
    if row.unused:
        parts.append(f"has {in_recipe(row.unused)}")
    if row.unread:
        parts.append(f"the last {count(row.unread)} characters not tokenised")
    if row.hidden:
        parts.append(f"{count(row.hidden)} more tokens not shown")
    return parts
